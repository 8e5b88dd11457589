"""TFRecord shards: how they are built, verified, repaired and described."""
