"""What an export gives for images, compared with what the run gives for them."""

import dataclasses
from typing import Any

import numpy as np

from engine.metrics import curves, predictions

LARGEST_DIFFERENCE = 1e-4  # of a float export, between probabilities


class DisagreementError(Exception):
    """An export computes something else than its run; it was removed. The text is a line for the user."""


@dataclasses.dataclass(frozen=True)
class Verification:
    """How an export compares with its run, on the same images.

    Attributes:
        images: where they come from, and how many there are.
        num_images: those that were compared.
        largest_difference: between two probabilities of a class.
        num_labels_changed: images for which the predicted class is another.
        auroc, auroc_exported: of the run and of the export (of more than two classes, the mean over
            them), where labels are known and both classes occur; None elsewhere.
        largest_file_difference: as `largest_difference`, from encoded files; None where the format takes
            none.
        num_files_not_valid: encoded files that the run decodes and the export does not.
    """

    images: str
    num_images: int
    largest_difference: float
    num_labels_changed: int
    auroc: float | None = None
    auroc_exported: float | None = None
    largest_file_difference: float | None = None
    num_files_not_valid: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The value of `verification` in `metadata.json`."""
        return dataclasses.asdict(self)

    def require_agreement(self, limit: float) -> None:
        """Raises `DisagreementError` where the export differs by more than `limit`, or gives no numbers."""
        differences = {
            "image arrays": self.largest_difference,
            "image files": self.largest_file_difference,
        }
        for kind, difference in differences.items():
            if difference is not None and not difference <= limit:  # nan too
                raise DisagreementError(
                    f"the export differs from the run by {difference:.2g} on {kind} ({self.images}), more "
                    f"than {limit:g}, so it was removed; please report it with the versions "
                    "of tensorflow and keras"
                )

    def lines(self) -> list[str]:
        """For the terminal."""
        found = [
            f"largest difference of a probability {self.largest_difference:.1e}, "
            f"{self.num_labels_changed} predicted classes changed, on {self.images}"
        ]
        if self.largest_file_difference is not None:
            found.append(f"from encoded files: {self.largest_file_difference:.1e}")
        if self.num_files_not_valid:
            found.append(
                f"{self.num_files_not_valid} of the files are of a kind that it does not decode"
            )
        if self.auroc is not None and self.auroc_exported is not None:
            found.append(f"AUROC {self.auroc:.4f} of the run, {self.auroc_exported:.4f} exported")
        return found


def compared(
    expected: np.ndarray,
    found: np.ndarray,
    *,
    images: str,
    threshold: float | None,
    labels: np.ndarray | None = None,
) -> Verification:
    """Compares probabilities, float[N, K] both.

    Args:
        threshold: of the positive class of two; None with more classes.
        labels: int64[N], if they are known.
    """
    ours, theirs = predictions.as_probabilities(expected), predictions.as_probabilities(found)
    changed = predictions.predict_labels(ours, threshold) != predictions.predict_labels(
        theirs, threshold
    )
    verified = Verification(
        images=images,
        num_images=len(expected),
        largest_difference=largest_difference(expected, found),
        num_labels_changed=int(changed.sum()),
    )
    if labels is None or not np.isfinite(found).all():
        return verified
    return dataclasses.replace(
        verified,
        auroc=curves.mean_auroc(labels, ours),
        auroc_exported=curves.mean_auroc(labels, theirs),
    )


def largest_difference(expected: np.ndarray, found: np.ndarray) -> float:
    """Between float[N, K] and float[N, K]; 0 of no image; nan where one of them is nan."""
    return float(np.abs(expected - found).max()) if expected.size else 0.0


def both_columns(probabilities: np.ndarray) -> np.ndarray:
    """float[N, K]: a column for each class, from those of a run, float[N] of two classes."""
    if probabilities.ndim == 2:
        return probabilities
    return np.stack([1 - probabilities, probabilities], axis=1)
