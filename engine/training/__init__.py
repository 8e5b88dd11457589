"""From batches to a trained run: the loop, the compiled step, checkpoints, devices."""
