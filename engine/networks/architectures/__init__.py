"""The built-in networks, one per file: each file defines `NETWORK`, and needs no entry anywhere else."""
