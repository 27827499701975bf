"""Worlds of listeners whose taste is known: logs of them, and closed loops with them."""
