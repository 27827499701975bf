"""Settings of a replay that suit its log: how long a step waits, how long is remembered, what is drawn."""
