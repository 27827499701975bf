"""Tests of replay/columns/, file by file."""
