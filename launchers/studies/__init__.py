"""What the mains of the studies do between their flags and their files."""
