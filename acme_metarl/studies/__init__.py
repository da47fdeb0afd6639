"""What the launchers of studies compute; no API, and the core imports none."""
