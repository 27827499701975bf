"""What a person sees while the system runs."""
