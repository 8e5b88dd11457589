"""A picture of what augmentation does to training images, as the network will see them."""

from pathlib import Path

import numpy as np

from engine.base.settings import TrainConfig
from engine.pipeline import augmentation
from engine.pipeline.reading import StoredSplit
from engine.runs import plots

ROWS, COLUMNS = 4, 8


def draw_preview(config: TrainConfig, shards: Path, path: Path) -> None:
    """Draws a grid: in each row one training image as it is, then as its first epochs show it.

    Raises:
        UserError: the shards cannot be read or hold no training images.
    """
    split = StoredSplit(shards, "train")
    images = split.first_images(ROWS)
    strengths = augmentation.strengths_from(config)
    cells, titles = [], []
    for position, image in enumerate(images):
        cells.append(image)
        titles.append("original")
        for epoch in range(COLUMNS - 1):
            draws = augmentation.draw(
                np.array([position]),
                seed=config.seed,
                epoch=epoch,
                image_size=split.manifest.image_size,
                strengths=strengths,
            )
            seen = augmentation.apply({"image": image[None], **draws})
            cells.append(np.clip(np.rint(seen.numpy()[0]), 0, 255).astype(np.uint8))
            titles.append(f"epoch {epoch + 1}")
    title = f"--augment {config.augment}"
    plots.image_grid(np.stack(cells), titles, path, columns=COLUMNS, title=title)
