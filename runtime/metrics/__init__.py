"""How good tracks and graphs are, measured against the truth of a simulation."""
