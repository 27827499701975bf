"""`segue learner`: the agent of `examples`, versions of the model out, checkpoints."""
