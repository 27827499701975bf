"""Tests of `bandit`."""
