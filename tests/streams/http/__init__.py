"""Tests of streams/http/, file by file."""
