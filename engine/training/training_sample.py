"""Training images measured as the validation split is: what a history may draw beside validation.

The loss of training steps is of another thing: of augmented images, smoothed labels, weighted classes, dropout,
and of weights that change meanwhile. Beside it validation looks better than it is, often better than training.
So after every epoch some training images are measured too, by the weights that are validated, with the loss that
validation has. That computes nothing that training uses.
"""

import functools

import numpy as np

from engine.pipeline.reading import StoredSplit
from engine.training.history import SAMPLE_FIELDS, Row
from engine.training.losses import Loss
from engine.training.validation import Predict, Validation

_MOST_BYTES = 256 << 20  # of images that are kept


class TrainingSample:
    """Measures a model on the first training images: records lie in random order, so they represent all.

    Args:
        split: the training split.
        count: how many images; of large ones fewer. Numbers that validation has too, or multiples of an
            evaluation's batch, cost no further tracing.
        predict, loss: as `Validation` takes them.
    """

    def __init__(self, split: StoredSplit, count: int, *, predict: Predict, loss: Loss) -> None:
        affordable = max(1, _MOST_BYTES // int(np.prod(split.manifest.image_shape)))
        self.count = min(count, split.num_examples, affordable)
        self._split, self._predict, self._loss = split, predict, loss

    def measure(self) -> Row:
        """`sample_loss`, `sample_accuracy`, `sample_auroc`; nothing of a sample without images.

        Raises:
            DamagedShardError: an image is damaged (they are read the first time).
        """
        if not self.count:
            return {}
        return dict(zip(SAMPLE_FIELDS, self._measured.measure().values(), strict=True))

    @functools.cached_property
    def _measured(self) -> Validation:
        return Validation(
            self._split.first_images(self.count),
            self._split.labels[: self.count],
            predict=self._predict,
            loss=self._loss,
        )
