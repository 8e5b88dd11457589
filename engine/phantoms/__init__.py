"""Chest-like images made by a procedure, for when no real ones are at hand."""
