"""Tests of streams/core/state/, file by file."""
