"""Reference checkpoints: weights, model card, and how they were trained."""
