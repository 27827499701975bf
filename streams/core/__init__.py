"""What happens to an event, decided once: pure functions over explicit state."""
