"""What is behind `compare`: runs, the processes that make them, the report."""
