"""Mirrors `streams/core/shaping`."""
