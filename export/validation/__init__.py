"""Validation: runs every file on every engine present, against the float64 network, and can fail."""
