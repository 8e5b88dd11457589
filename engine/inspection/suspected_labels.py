"""Images whose label a trained run confidently disagrees with: mislabelled, or hard; someone has to look.

An image of class i is suspected to be of class j where the run gives j a probability of at least the mean
that it gives to j among the images labelled j (Northcutt, Jiang and Chuang, Confident learning: estimating
uncertainty in dataset labels, 2021). The measure of confidence is thereby the run's own, class by class,
whatever its calibration.
"""

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import progress
from engine.base.config import UserError
from engine.base.inspect_settings import InspectConfig
from engine.images import image_files
from engine.images.image_folder import Example
from engine.inspection.image_table import ImageTable
from engine.inspection.sources import ShardsSource, Source
from engine.runs import contract, ensemble, stored_evaluations
from engine.runs.run_directory import RunDirectory

BATCH_SIZE = 32
PREDICTIONS = "predictions.csv"  # of an evaluation

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Suspect:
    """One image.

    Attributes:
        suggested: the class that the run gives it.
        probability: of that class; `of_label`: of the class it is labelled with.
    """

    example: Example
    suggested: str
    probability: float
    of_label: float


@dataclasses.dataclass(frozen=True)
class Suspects:
    """What was found.

    Attributes:
        images: by the probability of their label, the least likely first.
        judged: images with a probability, of `total`.
        source: where the probabilities come from, in words.
        were_trained_on: whether images may be among them that the run was trained on.
    """

    images: tuple[Suspect, ...]
    judged: int
    total: int
    source: str
    were_trained_on: bool


def checked_run(places: ensemble.Places, class_names: Sequence[str]) -> RunDirectory:
    """The run, if it knows the classes of the images.

    Raises:
        UserError: it is not trained, or a class of the images is none of its own.
    """
    run = ensemble.opened(places)
    run.require_trained()
    known = contract.stored(run).class_names
    if strange := sorted(set(class_names) - set(known)):
        raise UserError(
            f"--run {run.path}: knows the classes {', '.join(known)}, and the images are also of "
            f"{', '.join(strange)}; give a run trained on these classes"
        )
    return run


def find(run: RunDirectory, source: Source, table: ImageTable, settings: InspectConfig) -> Suspects:
    """The images of a table whose labels a run doubts.

    Raises:
        UserError: stored predictions are asked for and there are none, or the run cannot predict these
            images.
    """
    stored: dict[str, Array] = {}
    names: list[str] = []
    if settings.predictions != "new":
        stored, names = _stored(run, source, table)
    if settings.predictions == "stored" and not stored:
        raise UserError(
            f"--run {run.path}: no evaluation in it is of these images; measure them with "
            "python -m engine.evaluate, or leave out --predictions stored"
        )
    if stored:
        found = suspected(table.examples, contract.stored(run).class_names, stored)
        described = f"stored by evaluation{'s' * (len(names) > 1)} {', '.join(names)}"
        trained_on = bool({"train"} & set(names))
        return Suspects(found, len(stored), len(table), described, trained_on)
    fresh = dict(_predicted(run, source, table, settings))
    found = suspected(table.examples, contract.stored(run).class_names, fresh)
    own = run.read_environment().get("data", {}).get("fingerprint") == source.fingerprint
    return Suspects(found, len(fresh), len(table), "predicted now", own)


def suspected(
    examples: Sequence[Example], class_names: Sequence[str], probabilities: dict[str, Array]
) -> tuple[Suspect, ...]:
    """The suspected images, the least likely label first.

    Args:
        class_names: K, of the run.
        probabilities: path -> float[K].
    """
    judged = [example for example in examples if example.path in probabilities]
    if not judged:
        return ()
    places = {name: place for place, name in enumerate(class_names)}
    labels = np.array([places[example.class_name] for example in judged])
    values = np.array([probabilities[example.path] for example in judged])
    # A class that no image is labelled with is suggested for none.
    limits = np.array(
        [
            values[labels == k, k].mean() if (labels == k).any() else np.inf
            for k in range(len(class_names))
        ]
    )
    confident = np.where(values >= limits, values, -np.inf)
    suggested = confident.argmax(axis=1)
    rows = np.arange(len(judged))
    doubted = np.isfinite(confident[rows, suggested]) & (suggested != labels)
    of_label = values[rows, labels]
    order = sorted(np.flatnonzero(doubted), key=lambda row: (of_label[row], judged[row].path))
    return tuple(
        Suspect(
            judged[row],
            class_names[suggested[row]],
            float(values[row, suggested[row]]),
            float(of_label[row]),
        )
        for row in order
    )


def _stored(
    run: RunDirectory, source: Source, table: ImageTable
) -> tuple[dict[str, Array], list[str]]:
    """Path -> float[K], from the run's evaluations of these very images; and the evaluations used."""
    class_names = contract.stored(run).class_names
    wanted = {example.path: example.class_name for example in table.examples}
    found: dict[str, Array] = {}
    used = []
    for name in stored_evaluations.names(run):
        directory = run.evaluation(name)
        try:
            subject = stored_evaluations.read(directory).subject
        except UserError:
            continue
        if (
            subject is None
            or subject.fingerprint != source.fingerprint
            or subject.classes
            or subject.averaged
            or subject.prevalence
        ):
            continue
        before = len(found)
        for path, label, values in stored_rows(directory / PREDICTIONS, class_names):
            if wanted.get(path) == label:
                found.setdefault(path, values)
        if len(found) > before:
            used.append(name)
    return found, used


def stored_rows(path: Path, class_names: Sequence[str]) -> Iterator[tuple[str, str, Array]]:
    """Path, label and float[K] of each row of predictions.csv; nothing of a file that cannot be read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if len(class_names) == 2:
                    positive = float(row["probability"])
                    values = np.array([1 - positive, positive])
                else:
                    values = np.array([float(row[f"probability_{name}"]) for name in class_names])
                yield row["path"], row["label"], values
    except (OSError, KeyError, TypeError, ValueError, csv.Error):
        return


def _predicted(
    run: RunDirectory, source: Source, table: ImageTable, settings: InspectConfig
) -> Iterator[tuple[str, Array]]:
    """Path and float[K] of every image that can be read, by the run's model."""
    image_format = contract.read(run).image_format
    if isinstance(source, ShardsSource) and source.image_format != image_format:
        raise UserError(
            f"--run {run.path}: takes images of another format than {source.path} holds; give the image "
            "folder instead of the shards"
        )
    progress.say("loading TensorFlow and the model ...")
    from engine.inference import ensemble as predictors

    predictor = predictors.load(run, batch_size=BATCH_SIZE)
    paths = [example.path for example in table.examples]
    batches: Iterator[dict[str, Any]]
    if isinstance(source, ShardsSource):
        batches = (
            {"path": chosen, "image": source.images(chosen)}
            for chosen in (paths[i : i + BATCH_SIZE] for i in range(0, len(paths), BATCH_SIZE))
        )
    else:
        # Those that cannot be read are named already, and not in the table.
        images = image_files.decoded_images(
            (source.path / path for path in paths),
            image_files.Failures(),
            image_format=image_format,
            max_pixels=settings.max_pixels,
            workers=settings.workers,
        )
        batches = image_files.batched(images, BATCH_SIZE)
    with progress.ProgressBar("predicting", total=len(paths)) as bar:
        for batch, outputs in predictor.output_batches(batches):
            for path, one in zip(batch["path"], outputs.probabilities, strict=True):
                values = one if np.ndim(one) else np.array([1 - one, one])
                name = path if isinstance(path, str) else path.relative_to(source.path).as_posix()
                yield name, values
            bar.advance(len(batch["path"]))
