"""Tests of replay/inspect/, file by file."""
