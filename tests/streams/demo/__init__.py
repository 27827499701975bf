"""Tests of streams/demo/, file by file."""
