"""Strategies and the Thompson sampling that chooses among them."""
