"""Tests of streams/kafka_io/, file by file."""
