"""What another policy would have earned, from a log with propensities: `segue evaluate`."""
