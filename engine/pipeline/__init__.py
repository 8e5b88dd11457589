"""Shards to batches: order, tiers, and the augmentation that goes with them."""
