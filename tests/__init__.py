"""The rooms of the house mirrored, then oracles, parity, faults, integration."""
