"""Measures a trained run on a split and stores the results."""
