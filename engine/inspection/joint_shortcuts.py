"""How well all measures of the files, or of the pixels, together separate classes.

Several measures together may separate classes where no single one does. A linear classifier on the ranks of
the measures and on their squares (so that middle values count too), fitted to the class by ridge regression,
is measured on images that it was not fitted to: five folds, no patient in two of them. It is a lower limit
of what a network could take from these measures.
"""

import dataclasses
from typing import Any

import numpy as np
from scipy import stats

from engine.inspection import shortcuts
from engine.inspection.image_table import ImageTable
from engine.metrics import curves, intervals
from engine.metrics.estimate import Estimate

FOLDS = 5
FEWEST = 10 * FOLDS  # images
RIDGE = 1.0  # images' worth of shrinkage, the features being standardized

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class JointProbe:
    """How well several measures together separate a class from the others.

    Attributes:
        kind: `files` or `pixels`.
        subject: the class.
        measures: how many measures there were.
        auroc: on held-out images, with its interval over patients.
    """

    kind: str
    subject: str
    measures: int
    auroc: Estimate

    @property
    def is_notable(self) -> bool:
        """As `Probe.is_notable`."""
        return (self.auroc.low or 0) >= shortcuts.NOTABLE

    def to_json(self) -> dict[str, Any]:
        """The probe as JSON values."""
        return {**dataclasses.asdict(self), "auroc": self.auroc.to_json()}


def between_classes(table: ImageTable) -> tuple[JointProbe, ...]:
    """Of two classes once for each kind, of more each against the rest; none of fewer than 50 images."""
    if len(table) < FEWEST:
        return ()
    measured = list(shortcuts.scores(table))
    found = []
    for kind, is_of_file in (("files", True), ("pixels", False)):
        columns = [scores for _, scores, of_file in measured if of_file == is_of_file]
        if len(columns) < 2:
            continue
        features = _features(columns)
        for k in shortcuts.compared_classes(table):
            auroc = _held_out(features, table.labels == k, table.groups, table.split_labels)
            if auroc is not None:
                found.append(JointProbe(kind, table.class_names[k], len(columns), auroc))
    return tuple(found)


def _features(columns: list[Array]) -> Array:
    """float64[N, F]: ranks and their squares, standardized; unknown values are taken for the middle."""
    found = []
    for column in columns:
        known = ~np.isnan(column)
        ranks = np.zeros(len(column))
        ranks[known] = stats.rankdata(column[known]) / (known.sum() + 1) - 0.5
        found += [ranks, ranks**2, np.where(known, 0.0, 1.0)]
    features = np.stack(found, axis=1)
    features -= features.mean(axis=0)
    deviation = features.std(axis=0)
    return features[:, deviation > 1e-9] / deviation[deviation > 1e-9]


def _held_out(features: Array, positive: Array, groups: Array, strata: Array) -> Estimate | None:
    """The AUROC within strata of scores that each image is given by a fit to the other folds."""
    folds: Array = groups % FOLDS
    scores: Array = np.zeros(len(positive))
    for fold in range(FOLDS):
        own = folds == fold
        target = positive[~own]
        if not own.any() or not 0 < target.sum() < len(target):
            return None
        inputs = features[~own]
        center = inputs.mean(axis=0)
        inputs = inputs - center
        moments = inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1])
        weights = np.linalg.solve(moments, inputs.T @ (target - target.mean()))
        scores[own] = (features[own] - center) @ weights
    value = curves.auroc_within(positive, scores, strata)
    if value is None:
        return None
    return Estimate(value, *intervals.area(positive, scores, groups, strata))
