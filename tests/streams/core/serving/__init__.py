"""Tests of streams/core/serving/, file by file."""
