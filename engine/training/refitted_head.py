"""`--refit-head`: when training ends, the head of the best epoch is solved for again.

The head that an optimizer's steps leave behind has followed a body that moved under it, on augmented images and
smoothed labels. Solved for on what the body now gives of every training image, it generalizes better to other
series (benchmarks/NOTES.md), in about the time of an epoch. No validation image is used for it, so validation
can say whether it is any worse: then the epoch's own head stays.

`RUN/refitted_head.npz` keeps the outcome: a run that is finished once more has the same model, on any machine.
"""

import dataclasses
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from engine.base import files
from engine.base.config import UserError
from engine.metrics import temperature
from engine.metrics.temperature import Calibration
from engine.training import head_solver
from engine.training.solved_head import SolvedHead
from engine.training.validation import Validation

Array = np.ndarray
Figures = dict[str, float | None]

_STANDARD_ERRORS = 2.0  # by which a head must be worse on validation to be given up
# What must not cost a training that is done: its own head is a good one.
_FAILURES = (UserError, np.linalg.LinAlgError, MemoryError, tf.errors.ResourceExhaustedError)


@dataclasses.dataclass(frozen=True)
class Refit:
    """How a head was solved for when training ended.

    Attributes:
        kept: whether the network has it now.
        before, after: `val_loss`, `val_accuracy` and `val_auroc` of the epoch's head and of the solved one;
            None where they are not defined.
        problem: why it could not be solved for, if it could not.
    """

    kept: bool
    before: Figures
    after: Figures
    problem: str | None = None

    def to_json(self) -> dict[str, Any]:
        """What `training.json` says of it."""
        return dataclasses.asdict(self)

    @property
    def described(self) -> str:
        """A line for the user."""
        if self.problem is not None:
            return f"the head stays as it was, as it could not be refitted: {self.problem}"
        changes = ", ".join(
            f"{name} {_number(self.before[name])} -> {_number(self.after[name])}"
            for name in self.before
        )
        kept = "" if self.kept else "; that is worse, so the head stays as it was"
        return f"head refitted: {changes}{kept}"


def refit(
    head: SolvedHead,
    validation: Validation,
    *,
    prior: Sequence[float],
    agreed: Callable[[Any], list[float]],
    should_stop: Callable[[], bool] = lambda: False,
) -> Refit | None:
    """Solves for the head of a network that has its final weights otherwise.

    Args:
        validation: measures the network.
        prior: the share of each class that training implied.
        agreed: the chief's values on every worker.
        should_stop: asked after every batch of features; when true, nothing is changed and None returned.
    """
    epochs_own = head.state()
    labels, old, before = validation.measured()
    after: Mapping[str, float] = {}
    try:
        if head(should_stop) is None:
            return None
        _, new, after = validation.measured()
        worse, problem = is_worse(labels, new, old, prior=prior), None
    except _FAILURES as error:
        worse, problem = True, str(error) or type(error).__name__
    kept = not any(agreed([worse]))
    if not kept:
        head.restore(epochs_own)
    return Refit(kept, _defined(before), _defined(after), problem)


def is_worse(labels: Array, new: Array, old: Array, *, prior: Sequence[float]) -> bool:
    """Whether log-odds lose against others on the same examples, by more than chance explains.

    Each is calibrated by the temperature that suits it best, as it will be, so that what counts is how
    well it tells classes apart and not how sure it is. The mean difference of their cross-entropies, classes
    weighted by the prior, is held against its standard error over examples. Log-odds that are not finite are
    worse.

    Args:
        labels: int[N].
        new, old: float[N], or float[N, K] with more than two classes.
        prior: the share of each class that training implied.
    """
    if not np.isfinite(new).all():
        return True
    shares = np.asarray(prior) / np.bincount(labels, minlength=len(prior)).clip(1)
    weights = shares[labels] / shares[labels].mean()
    difference = weights * (_losses(labels, new, prior) - _losses(labels, old, prior))
    error = difference.std() / np.sqrt(len(difference))
    return not difference.mean() <= _STANDARD_ERRORS * error


def _losses(labels: Array, log_odds: Array, prior: Sequence[float]) -> Array:
    """float64[N]: the calibrated cross-entropy of each example."""
    shares = tuple(float(share) for share in prior)
    fitted = temperature.fit_temperature(labels, log_odds, prior=shares)
    calibrated = Calibration(temperature=fitted, prior=shares).log_odds(log_odds)
    return head_solver.cross_entropies(temperature.as_logits(calibrated), labels)


# --- kept in the run ------------------------------------------------------------------------------


def digest_of(weights: Sequence[Array]) -> str:
    """A SHA-256 (hex) over the weights of the best epoch, by which an outcome is known to be theirs."""
    found = hashlib.sha256()
    for array in weights:
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def keep(path: Path, refitted: Refit, head: SolvedHead, *, digest: str) -> None:
    """Writes the outcome, and the head that the network has now."""
    content = io.BytesIO()
    told = json.dumps({**refitted.to_json(), "digest": digest})
    arrays = {f"array_{number}": array for number, array in enumerate(head.state())}
    np.savez(content, told=np.array(told), **arrays)  # type: ignore[arg-type]
    with files.written_aside(path) as aside:
        aside.write_bytes(content.getvalue())


def take_up(path: Path, head: SolvedHead, *, digest: str) -> Refit | None:
    """Gives the network the head that was kept, if it is that of these weights; None where there is none."""
    try:
        with np.load(path) as content:
            told = json.loads(str(content["told"]))
            arrays = [content[f"array_{number}"] for number in range(len(head.state()))]
        if told.pop("digest") != digest:
            return None
        refitted = Refit(**told)
        head.restore(arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None  # absent, damaged or of another network: it is solved for again
    return refitted


def _defined(figures: Mapping[str, float]) -> Figures:
    return {name: None if math.isnan(value) else value for name, value in figures.items()}


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
