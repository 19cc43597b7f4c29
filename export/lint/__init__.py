"""Lint: reads a model file and says what is wrong with it for a target. Nothing in the file is executed."""
