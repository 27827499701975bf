"""Tests of `replay/`."""
