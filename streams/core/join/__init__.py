"""Events become state, examples and rewards: one partition, in the order of its records. Pure."""
