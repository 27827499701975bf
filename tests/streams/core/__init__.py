"""Tests of streams/core/, file by file."""
