"""How a model does on images like its training images, and on those that are unlike them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.base.wording import counted
from engine.metrics import bootstrap, strata
from engine.metrics.strata_results import METRICS, Stratum

LIMIT = 1.0  # images with a larger distance from the training images are unlike them
LIKE, UNLIKE = "like the training images", "unlike them"
UNDECIDED = "undecided"  # what an image is called instead of its class


@dataclasses.dataclass(frozen=True)
class UnlikeResults:
    """Figures of both kinds of images; a kind without any image is None.

    Attributes:
        median_distance: of all images.
        abstained: whether those that are unlike were left undecided.
    """

    like: Stratum | None
    unlike: Stratum | None
    median_distance: float
    abstained: bool = False

    @property
    def num_examples(self) -> int:
        """Images of both kinds."""
        return sum(kind.num_examples for kind in (self.like, self.unlike) if kind)

    @property
    def num_unlike(self) -> int:
        """Images that are unlike the training images."""
        return self.unlike.num_examples if self.unlike else 0

    def rows(self) -> list[tuple[str, ...]]:
        """A table of text, one row per kind: its name, its images, then `METRICS` with intervals."""
        return [
            (
                kind.name,
                f"{kind.num_examples:,}",
                *(str(kind.metrics[metric]) for metric in METRICS),
            )
            for kind in (self.like, self.unlike)
            if kind
        ]

    def account(self) -> str:
        """How many are unlike, in a line."""
        share = self.num_unlike / self.num_examples
        return (
            f"{self.num_unlike:,} of {counted(self.num_examples, 'image')} ({share:.1%}) above "
            f"{LIMIT:g}: unlike training images"
        )

    def summary_lines(self) -> list[str]:
        """The account, and where they were left undecided, how the others do."""
        lines = [f"distance     {self.account()}"]
        if self.abstained:
            lines.append(self.decided_text(label="decided      "))
        return lines

    def decided_text(self, *, label: str = "decided are ") -> str:
        """Of how many images the class is decided where those that are unlike are left out, and how often
        rightly."""
        if self.like is None:
            return "no image is decided"
        coverage = self.like.num_examples / self.num_examples
        return f"{label}{coverage:.1%} of the images; accuracy {self.like.metrics['accuracy']}"

    def to_json(self) -> dict[str, Any]:
        """Its part of `metrics.json`."""
        return {
            "limit": LIMIT,
            "num_unlike": self.num_unlike,
            "share_unlike": self.num_unlike / self.num_examples,
            "median_distance": self.median_distance,
            "abstained": self.abstained,
            "figures_like": None if self.like is None else self.like.to_json(),
            "figures_unlike": None if self.unlike is None else self.unlike.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "UnlikeResults":
        """The inverse of `to_json`.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: the values are not those of `to_json`.
        """
        like, unlike = values["figures_like"], values["figures_unlike"]
        if like is None and unlike is None:
            raise ValueError("neither kind holds an image")
        return cls(
            None if like is None else Stratum.from_json(like),
            None if unlike is None else Stratum.from_json(unlike),
            float(values["median_distance"]),
            bool(values["abstained"]),
        )


def is_unlike(distances: np.ndarray) -> np.ndarray:
    """bool[N]: which images lie beyond the limit."""
    return distances > LIMIT


def measure(
    examples: bootstrap.Examples,
    distances: np.ndarray,
    *,
    class_names: Sequence[str],
    resamples: int,
    seed: int,
    abstained: bool = False,
) -> UnlikeResults:
    """Measures the images on either side of the limit.

    Args:
        examples: N examples.
        distances: float[N], from the training images.
        resamples, seed: as `engine.metrics.evaluation.evaluate`.
    """
    beyond = is_unlike(distances)
    like, unlike = (
        strata.part(name, examples, chosen, class_names=class_names, resamples=resamples, seed=seed)
        if chosen.any()
        else None
        for name, chosen in ((LIKE, ~beyond), (UNLIKE, beyond))
    )
    return UnlikeResults(like, unlike, float(np.median(distances)), abstained)
