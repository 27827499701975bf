"""One module a data set or export with a name: its rows as events, its side files as items."""
