"""Mirrors `streams/core/lookup`."""
