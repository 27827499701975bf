"""Examples and rewards become parameters, posteriors and metrics: the learner. Pure."""
