"""How good scores are: arrays in, figures and intervals out. NumPy and SciPy only."""
