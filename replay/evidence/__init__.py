"""Models side by side over one log: ablations, freshness, gamma, holdout logs, next plays, with intervals."""
