"""trkx: from trained tracking networks to verified model files, and from hits to tracks."""

__version__ = "0.1.0"
