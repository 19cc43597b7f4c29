"""Repair: rewrites what can be proven wrong, verifies the result, refuses the rest."""
