"""What a partition remembers: rows, tables, event-time timers, digests. Nothing here decides what happens to an event."""
