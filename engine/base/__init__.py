"""What every other package stands on: configurations, files, locks, progress, the machine, random numbers."""
