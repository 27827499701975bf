"""The live driver: Kafka, RocksDB, HTTP and the command line around the core."""
