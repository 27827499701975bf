"""Tests of streams/core/join/, file by file."""
