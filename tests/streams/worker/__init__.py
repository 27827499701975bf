"""Tests of streams/worker/, file by file."""
