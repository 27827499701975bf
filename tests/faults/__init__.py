"""Tests of what goes wrong: real processes killed, broken files, bad records."""
