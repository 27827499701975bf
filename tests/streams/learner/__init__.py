"""Tests of streams/learner/, file by file."""
