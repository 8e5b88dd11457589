"""Images whose label a trained run confidently disagrees with: mislabelled, or hard; someone has to look.

An image of class i is suspected to be of class j where the run gives j a probability of at least the mean
that it gives to j among the images labelled j (Northcutt, Jiang and Chuang, Confident learning: estimating
uncertainty in dataset labels, 2021). The measure of confidence is thereby the run's own, class by class,
whatever its calibration.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import numpy as np

from engine.base import progress
from engine.base.config import UserError
from engine.base.inspect_settings import InspectConfig
from engine.images import image_files
from engine.images.image_folder import Example
from engine.inspection import stored_probabilities
from engine.inspection.image_table import ImageTable
from engine.inspection.sources import ShardsSource, Source
from engine.inspection.stored_probabilities import StoredProbabilities
from engine.runs import contract, ensemble, evaluation_ranking, lineage
from engine.runs.run_directory import RunDirectory

BATCH_SIZE = 32

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
        were_trained_on: whether images may be among them that the run, or one that it learned from, was
            trained on.
    """

    images: tuple[Suspect, ...]
    judged: int
    total: int
    source: str
    were_trained_on: bool


@dataclasses.dataclass(frozen=True)
class CheckedRun:
    """A run that can judge a set of images.

    Attributes:
        stored: what its evaluations hold of them; None where every image is to be predicted.
    """

    run: RunDirectory
    stored: StoredProbabilities | None

    @property
    def must_predict(self) -> bool:
        """Whether no stored probability can be used."""
        return self.stored is None or not self.stored.by_path


def checked_run(places: ensemble.Places, source: Source, settings: InspectConfig) -> CheckedRun:
    """The run, if it can judge the images; no image is decoded to find out.

    Raises:
        UserError: it is not trained, a class of the images is not among its classes, stored predictions
            are required and none can be used, or it takes images of another format than shards hold.
    """
    run = ensemble.opened(places)
    run.require_trained()
    known = contract.stored(run)
    if strange := sorted(set(source.class_names) - set(known.class_names)):
        raise UserError(
            f"--run {run.path}: knows the classes {', '.join(known.class_names)}, and the images are also "
            f"of {', '.join(strange)}; give a run trained on these classes"
        )
    stored = None
    if settings.predictions != "new":
        stored = stored_probabilities.read(run, source.fingerprint)
    checked = CheckedRun(run, stored)
    if settings.predictions == "stored" and checked.must_predict:
        _refuse_stored(checked)
    if (
        checked.must_predict
        and isinstance(source, ShardsSource)
        and source.image_format != known.image_format
    ):
        raise UserError(
            f"--run {run.path}: takes images of another format than {source.path} holds; give the image "
            "folder instead of the shards"
        )
    return checked


def _refuse_stored(checked: CheckedRun) -> NoReturn:
    unused = checked.stored.unused_text if checked.stored else ""
    problem = (
        f"its evaluations of these images cannot be used ({unused})"
        if unused
        else "no evaluation in it is of these images"
    )
    raise UserError(
        f"--run {checked.run.path}: {problem}; measure them with python -m engine.evaluate, or leave out "
        "--predictions stored"
    )


def find(
    checked: CheckedRun, source: Source, table: ImageTable, settings: InspectConfig
) -> Suspects:
    """The images of a table whose labels a run doubts."""
    run, stored = checked.run, checked.stored
    class_names = contract.stored(run).class_names
    if stored is not None and stored.by_path:
        judged = {
            example.path: found
            for example in table.examples
            if (found := stored.by_path.get(example.path)) and found.label == example.class_name
        }
        values = {path: found.values for path, found in judged.items()}
        described = f"stored by evaluation{'s' * (len(stored.used) > 1)} {', '.join(stored.used)}"
        were_trained_on = any(found.was_trained_on for found in judged.values())
    else:
        values = dict(_predicted(run, source, table, settings))
        described = "predicted now"
        were_trained_on = _may_know(run, source.fingerprint)
    if stored is not None and stored.unused:
        described += f"; not used: {stored.unused_text}"
    suspects = suspected(table.examples, class_names, values)
    return Suspects(suspects, len(values), len(table), described, were_trained_on)


def _may_know(run: RunDirectory, fingerprint: str) -> bool:
    """Whether the run, or one that it learned from, was trained on images of a set with a fingerprint."""
    data = evaluation_ranking.trained_on(run)
    # Of no certain split: any of the set counts.
    return data.get("fingerprint") == fingerprint or lineage.may_know(data, fingerprint, "", "")


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


def _predicted(
    run: RunDirectory, source: Source, table: ImageTable, settings: InspectConfig
) -> Iterator[tuple[str, Array]]:
    """Path and float[K] of every image that can be read, by the run's model."""
    image_format = contract.read(run).image_format
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
