"""The other driver: a log file through the same core, and what can be said afterwards."""
