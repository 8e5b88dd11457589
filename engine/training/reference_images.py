"""What a finished run remembers of its training images: how far new images lie from them.

See `engine.inference.applicability`. It costs one pass of the model over 2,000 training images and the validation
images. A run that was killed meanwhile does it again when it is resumed.
"""

from collections.abc import Callable

import numpy as np

from engine.base.config import UserError
from engine.inference import applicability
from engine.inference.applicability import Applicability
from engine.inference.predictor import Predictor
from engine.pipeline.reading import StoredSplit
from engine.runs.run_directory import RunDirectory

_MOST_BYTES = 256 << 20  # of images held at a time
_FEWEST = 200
_BATCH_SIZE = 64


def remember(
    run: RunDirectory,
    split: StoredSplit,
    held_out: np.ndarray,
    *,
    count: int,
    say: Callable[[str], None],
) -> None:
    """Writes `RUN/applicability.npz` for the run's model, unless it is there.

    Args:
        split: the training split; records are in random order, so its first images represent it.
        held_out: the validation images, uint8[N, H, W, C]; of more than `count`, every n-th counts.
        count: the most images of each to look at; of large images fewer.
        say: takes a line where it cannot be done.
    """
    if applicability.read(run) is not None:
        return
    affordable = max(_FEWEST, _MOST_BYTES // max(1, held_out[0].nbytes))
    count = min(count, affordable)
    try:
        predictor = Predictor.load(run.path, batch_size=_BATCH_SIZE)
    except UserError as error:
        say(f"the distance from the training images cannot be measured: {error}")
        return
    training = predictor.features(split.first_images(count))
    every = -(-len(held_out) // count)
    validation = predictor.features(held_out[::every])
    applicability.write(run, Applicability.fit(training, validation))
