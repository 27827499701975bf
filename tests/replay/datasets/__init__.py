"""Tests of `replay/datasets/`."""
