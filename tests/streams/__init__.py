"""Tests of `streams/`."""
