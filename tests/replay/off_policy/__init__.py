"""Tests of replay/off_policy/, file by file."""
