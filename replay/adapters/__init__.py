"""One module a log format: rows in, events of the core out."""
