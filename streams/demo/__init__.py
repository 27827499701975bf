"""`segue run`: everything on this machine with simulated listeners, and what a person sees of it."""
