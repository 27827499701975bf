"""Tests of `streams.core`."""
