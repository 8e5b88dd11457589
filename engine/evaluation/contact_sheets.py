"""The images of an evaluation that say most about a model: the most wrong, and the least certain.

    most_wrong.png      classified wrongly, those first of which the model was surest
    least_certain.png   closest to the threshold, or with the smallest lead of the most likely class

Both are chosen while the split is predicted, so that no image is read twice, but for predictions at a
prevalence that only all of them together give. Each is drawn beside the evidence for the class that was
predicted.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from engine.base import files
from engine.base.config import UserError
from engine.evaluation.class_mapping import ClassMapping
from engine.evaluation.evaluation_files import SplitPredictions
from engine.explaining import overlay
from engine.inference import explanation
from engine.inference.predictor import Outputs, Predictor
from engine.metrics.predictions import predict_labels
from engine.runs import contact_sheet
from engine.runs.contact_sheet import Entry
from engine.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from engine.pipeline.reading import StoredSplit

MOST_WRONG, LEAST_CERTAIN = "most_wrong.png", "least_certain.png"
Evidence = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Example:
    """An image with what is shown of it.

    Attributes:
        image: uint8[H, W, C].
        probability: of the class that was predicted.
        order: by which examples are sorted, the smallest first.
    """

    image: np.ndarray
    path: str
    label: int
    predicted: int
    probability: float
    order: float


class Candidates:
    """The most wrong and the least certain images of those that were offered so far.

    Args:
        number: how many of each are kept; 0 keeps none.
        threshold: of two classes, at which probability the positive one is predicted.
    """

    def __init__(self, number: int, *, threshold: float | None) -> None:
        self._number, self._threshold = number, threshold
        self.most_wrong: list[Example] = []
        self.least_certain: list[Example] = []

    def offer(
        self, images: np.ndarray, labels: np.ndarray, outputs: Outputs, paths: Sequence[str]
    ) -> None:
        """Keeps those of a batch that belong among the first.

        Args:
            images: uint8[B, H, W, C].
            labels: int[B].
            outputs: those of the batch.
            paths: B texts.
        """
        if not self._number:
            return
        probabilities = outputs.probabilities
        predicted = predict_labels(probabilities, self._threshold)
        own = (
            np.where(predicted == 1, probabilities, 1 - probabilities)
            if probabilities.ndim == 1
            else probabilities[np.arange(len(predicted)), predicted]
        )
        leads, errors = leads_and_errors(outputs.log_odds, labels, self._threshold)

        def examples(places: np.ndarray, order: np.ndarray) -> list[Example]:
            return [
                Example(
                    images[place].copy(),
                    paths[place],
                    int(labels[place]),
                    int(predicted[place]),
                    float(own[place]),
                    float(order[place]),
                )
                for place in places
            ]

        wrong = np.flatnonzero(predicted != labels)
        wrong = wrong[np.argsort(-errors[wrong], kind="stable")][: self._number]
        closest = np.argsort(leads, kind="stable")[: self._number]
        found = [*self.most_wrong, *examples(wrong, -errors)]
        self.most_wrong = sorted(found, key=lambda example: example.order)[: self._number]
        found = [*self.least_certain, *examples(closest, leads)]
        self.least_certain = sorted(found, key=lambda example: example.order)[: self._number]


def of_predictions(
    number: int,
    stored: "StoredSplit",
    mapping: ClassMapping,
    predictions: SplitPredictions,
    *,
    threshold: float | None,
) -> Candidates:
    """Those of a split that has been predicted, whose images are read again.

    Args:
        number, threshold: as of `Candidates`.
        mapping, predictions: by which examples were left out, and what the others gave, in order.

    Raises:
        UserError: a shard is damaged.
    """
    found = Candidates(number, threshold=threshold)
    if not number:
        return found
    start = 0
    with stored.damage_named():
        for raw in stored.dataset().as_numpy_iterator():
            batch = mapping.applied(raw)
            part = slice(start, start + len(batch["label"]))
            outputs = Outputs(predictions.probabilities[part], predictions.log_odds[part])
            found.offer(batch["image"], batch["label"], outputs, predictions.paths[part])
            start = part.stop
    return found


def leads_and_errors(
    log_odds: np.ndarray, labels: np.ndarray, threshold: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """How far each image is from being decided otherwise, and from being decided right, in log-odds.

    Args:
        log_odds: float[N] of class 1, or float[N, K] of more than two classes, of which the largest
            decides.
        labels: int[N].

    Returns:
        float64[N] each: the lead of the class that was predicted before the threshold or the second
        class; and its lead before the class that is true, 0 or less where that was predicted.
    """
    with np.errstate(invalid="ignore"):
        if log_odds.ndim == 1:
            beyond = log_odds - special.logit(0.5 if threshold is None else threshold)
            leads, errors = np.abs(beyond), np.where(labels == 1, -beyond, beyond)
        else:
            ordered = np.sort(log_odds, axis=1)
            leads = ordered[:, -1] - ordered[:, -2]
            errors = ordered[:, -1] - log_odds[np.arange(len(labels)), labels]
    return np.nan_to_num(leads), np.nan_to_num(errors)


def draw(
    candidates: Candidates,
    directory: Path,
    *,
    run: RunDirectory,
    predictor: Predictor,
    split: str,
) -> None:
    """Draws both sheets; that of wrong images only if there are any.

    Args:
        run: whose network may name the layer that is explained.
        predictor: whose evidence is drawn beside the images; of a model without feature maps, none.
    """
    groups = {
        MOST_WRONG: (candidates.most_wrong, "Most wrong", "surest first"),
        LEAST_CERTAIN: (candidates.least_certain, "Least certain", "closest call first"),
    }
    kept = [example for examples, *_ in groups.values() for example in examples]
    if not kept:
        return
    beside = _overlays(kept, run, predictor)
    names = predictor.contract.class_names
    for name, (examples, title, order) in groups.items():
        if not examples:
            continue
        pictures = [beside.get(id(example)) for example in examples]
        notes = [order]
        if len(names) == 2:
            notes.append(f"{names[1]} from a probability of {predictor.threshold:.3f} on")
        if pictures[0] is not None:
            notes.append("right: evidence for the predicted class")
        contact_sheet.draw(
            [
                Entry(example.image, picture, caption(example, names))
                for example, picture in zip(examples, pictures, strict=True)
            ],
            directory / name,
            title=f"{title}, {split} split",
            note="; ".join(notes),
        )


def caption(example: Example, class_names: Sequence[str]) -> list[str]:
    """What stands below an image: the classes, the probability and the path."""
    true, predicted = class_names[example.label], class_names[example.predicted]
    return [
        f"{true}, called {predicted}" if true != predicted else f"{true}, recognized",
        f"P({predicted}) = {example.probability:.3f}",
        files.one_line(example.path),
    ]


def _overlays(
    examples: Sequence[Example], run: RunDirectory, predictor: Predictor
) -> dict[int, np.ndarray]:
    """Each example's image under the evidence for its predicted class, by the example's identity."""
    try:
        explain = explanation.of_predictor(predictor, default=explanation.named_layer(run))
    except UserError:  # the model has no feature map
        return {}
    images = np.stack([example.image for example in examples])
    evidence = explain(images, np.array([example.predicted for example in examples]))
    return {
        id(example): overlay.overlay(example.image, found)
        for example, found in zip(examples, evidence, strict=True)
    }
