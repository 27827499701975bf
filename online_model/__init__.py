"""The ranker and what it learns from: features, blocks, losses, metrics, checkpoints."""
