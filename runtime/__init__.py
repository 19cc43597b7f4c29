"""From a bundle and events to tracks."""
