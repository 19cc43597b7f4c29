"""From checkpoints to one verified bundle."""
