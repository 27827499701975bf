"""Kafka and Faust as everything here uses them: topics, messages, delivery, plain readers, a broker of our own."""
