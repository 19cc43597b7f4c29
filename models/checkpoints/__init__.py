"""Readers of checkpoint files: tensors and plain values come out, nothing is imported or called."""
