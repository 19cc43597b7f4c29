"""Other libraries that do what a stage of trkx does, for comparison only: each is imported when it is asked for."""
