"""Examples of how to use parts of the library elsewhere."""
