"""The front door: one file a group of verbs; each parses, loads settings, calls one function, prints."""
