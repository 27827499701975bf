"""Tests of replay/evidence/, file by file."""
