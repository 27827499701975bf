"""What a file of one's own is: a sample of it, what its columns look like, a profile of its events, what it can answer, the command."""
