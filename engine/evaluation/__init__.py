"""A trained run measured on a split, and what that leaves on disk."""
