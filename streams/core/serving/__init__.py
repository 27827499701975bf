"""A request becomes a slate or a page: candidates, scores, strategies, order. Pure."""
