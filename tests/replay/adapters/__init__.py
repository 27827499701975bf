"""Tests of `replay/adapters/`."""
