"""What `make bench` measures: each figure as a ratio against a named baseline of the same run."""
