"""Tests of replay/proofs/, file by file."""
