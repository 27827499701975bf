"""Tests of streams/cli/, file by file."""
