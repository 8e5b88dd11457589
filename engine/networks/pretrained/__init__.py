"""Weights that networks start from: where they lie, how their files are read, and where they go."""
