"""A loss that is not finite: reported with the step and its files, or answered by going back."""

from pathlib import Path

import numpy as np

from engine.base import files

REWIND_FACTOR = 0.1  # what the learning rate is multiplied by on going back
_NAMES_SHOWN = 3


class DivergenceError(ArithmeticError):
    """The loss became infinite or NaN."""


def first_not_finite(losses: np.ndarray) -> int | None:
    """The place of the first loss that is infinite or NaN; None if all are finite."""
    finite = np.isfinite(losses)
    return None if finite.all() else int(np.argmin(finite))


def report(
    loss: float, *, step: int, learning_rate: float, paths: list[str], listing: Path
) -> DivergenceError:
    """Lists the files of the batch in `listing`; returns the error that names the first of them.

    Args:
        step: counted from 1.
        paths: the source files of the images in that step's batch.
    """
    lines = [files.one_line(path) for path in paths]
    files.write_text(listing, "".join(f"{line}\n" for line in lines))
    return DivergenceError(
        f"the loss became {loss} at step {step} (learning rate {learning_rate:.2g}) on "
        f"{', '.join(lines[:_NAMES_SHOWN])} (all {len(paths)} are listed in "
        f"{listing}); lower --learning-rate, raise --warmup-epochs, or give --on-divergence rewind"
    )
