"""What a request wants of a slate beside the ranking: which items, in which places."""
