"""A run on disk: its directory, its figures and its report."""
