"""The commands of the export side."""
