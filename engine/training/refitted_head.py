"""`--refit-head`: when training ends, the head of the best epoch is solved for anew.

The head that steps of an optimizer leave behind has followed a body that moved under it, on augmented images
and smoothed labels. Solved for on what the body now gives of every training image, it tells images of another
series apart better (benchmarks/NOTES.md), in the time of about an epoch. As it sees no validation image,
validation says whether it is any worse: then the epoch's own head stays.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from engine.metrics import temperature
from engine.metrics.temperature import Calibration
from engine.training.solved_head import SolvedHead
from engine.training.validation import Validation

Array = np.ndarray

_STANDARD_ERRORS = 2.0  # by which a head must be worse on validation to be given up


@dataclasses.dataclass(frozen=True)
class Refit:
    """How a head was solved for when training ended.

    Attributes:
        kept: whether the network has it now.
        before, after: `val_loss`, `val_accuracy` and `val_auroc` of the epoch's head and of the solved one.
    """

    kept: bool
    before: dict[str, float]
    after: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """What `training.json` says of it."""
        return dataclasses.asdict(self)

    @property
    def described(self) -> str:
        """A line for the user."""
        changes = ", ".join(
            f"{name} {self.before[name]:.4f} -> {self.after[name]:.4f}" for name in self.before
        )
        kept = "" if self.kept else "; that is worse, so the head stays as it was"
        return f"the head, solved for anew: {changes}{kept}"


def refit(
    head: SolvedHead,
    validation: Validation,
    *,
    prior: Sequence[float],
    agreed: Callable[[Any], list[float]],
) -> Refit:
    """Solves for the head of a network that has its final weights otherwise.

    Args:
        validation: measures the network.
        prior: the share of each class that training implied.
        agreed: the chief's values on every worker.
    """
    epochs_own = head.state()
    labels, old = validation.log_odds()
    before = validation.measure()
    head(lambda: False)
    _, new = validation.log_odds()
    after = validation.measure()
    worse = is_worse(labels, new, old, prior=prior)
    kept = not any(agreed([worse]))
    if not kept:
        head.restore(epochs_own)
    return Refit(kept, before, after)


def is_worse(labels: Array, new: Array, old: Array, *, prior: Sequence[float]) -> bool:
    """Whether log-odds lose against others on the same examples, by more than chance explains.

    Each is calibrated by the temperature that suits it best, as it will be, so that what counts is how
    well it tells classes apart and not how sure it is. The mean difference of their cross-entropies is held
    against its standard error.

    Args:
        labels: int[N].
        new, old: float[N], or float[N, K] with more than two classes.
    """
    difference = _losses(labels, new, prior) - _losses(labels, old, prior)
    error = difference.std() / np.sqrt(len(difference))
    return bool(difference.mean() > _STANDARD_ERRORS * error)


def _losses(labels: Array, log_odds: Array, prior: Sequence[float]) -> Array:
    """float64[N]: the calibrated cross-entropy of each example."""
    shares = tuple(float(share) for share in prior)
    fitted = temperature.fit_temperature(labels, log_odds, prior=shares)
    logits = temperature.as_logits(
        Calibration(temperature=fitted, prior=shares).log_odds(log_odds)
    )
    if logits.shape[1] == 1:
        return np.logaddexp(0, np.where(labels == 1, -1.0, 1.0) * logits[:, 0])
    own = logits[np.arange(len(labels)), labels]
    return np.asarray(np.logaddexp.reduce(logits, axis=1) - own)
