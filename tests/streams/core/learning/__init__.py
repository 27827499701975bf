"""Tests of streams/core/learning/, file by file."""
