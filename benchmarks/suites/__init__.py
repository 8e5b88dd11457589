"""The suites of `python -m benchmarks`, one file each."""
