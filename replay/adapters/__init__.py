"""One module a data set: its rows as events, its side files as items."""
