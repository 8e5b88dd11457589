"""A picture of what augmentation and mixing do to training images, as the network will see them."""

from pathlib import Path

import numpy as np
import tensorflow as tf

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.pipeline import augmentation, mixing
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import StoredSplit
from engine.runs import plots

ROWS, COLUMNS = 4, 8


def draw_preview(config: TrainConfig, shards: Path, path: Path) -> None:
    """Draws a grid: in each row one training image as it is, then as its first epochs show it.

    Where images are mixed, the first row is mixed with the second and the third with the fourth.

    Raises:
        UserError: the shards cannot be read, or hold no training images (with mixing, no pair).
    """
    split, plan = StoredSplit(shards, "train"), InputPlan.from_config(config)
    images = split.first_images(ROWS)
    if plan.mixing:
        images = images[: len(images) // 2 * 2]
        if not len(images):
            raise UserError(f"{shards}: --mixup and --cutmix need two training images, found one")
    seen = [_seen(images, plan, epoch) for epoch in range(COLUMNS - 1)]
    rows = np.stack([images, *seen], axis=1)
    titles = ["original", *(f"epoch {epoch + 1}" for epoch in range(COLUMNS - 1))] * len(images)
    title = f"--augment {config.augment}"
    title += f" --mixup {config.mixup:g}" if config.mixup else ""
    title += f" --cutmix {config.cutmix:g}" if config.cutmix else ""
    cells = rows.reshape(-1, *images.shape[1:])
    plots.image_grid(cells, titles, path, columns=COLUMNS, title=title)


def _seen(images: np.ndarray, plan: InputPlan, epoch: int) -> np.ndarray:
    """uint8[N, H, W, C]: what an epoch shows of the images at its first positions."""
    positions, image_size = tf.range(len(images), dtype=tf.int64), images.shape[1:3]
    draws = plan.draw(positions, epoch=epoch, image_size=image_size)
    pixels = augmentation.apply({"image": images, **draws})
    if plan.mixing:
        pixels = mixing.apply(pixels, draws["mix"])
    return np.clip(np.rint(pixels.numpy()), 0, 255).astype(np.uint8)
