"""Tests of replay/simulator/, file by file."""
