"""A run's predictions of image files; what `engine.predict` prints and `engine.predict(...)` returns."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.base import progress, setting_values
from engine.base.config import UserError
from engine.base.run_settings import FilesConfig, PredictConfig
from engine.base.setting_values import ESTIMATED
from engine.images import image_files, path_list
from engine.inference import applicability, ensemble
from engine.inference.predictor import Batch, Outputs, Predictor, first_prevalence
from engine.metrics import prior_shift, unlike_results
from engine.runs import contract
from engine.runs.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a run gives for one image.

    Attributes:
        path: the image file.
        probability: that of the positive class of two, the largest of more.
        predicted: the class, by the run's threshold or, of more than two, the most probable one; with
            `abstain`, `undecided` for an image that is unlike the training images.
        probabilities: of every class, by its name.
        spread: the standard deviation of `probability` over the runs, where several are averaged.
        distance: how far the image lies from the training images; above 1 it is unlike them. None
            where the run does not know.
    """

    path: Path
    probability: float
    predicted: str
    probabilities: dict[str, float]
    spread: float | None = None
    distance: float | None = None

    @property
    def is_unlike(self) -> bool:
        """Whether the image is known to be unlike the training images."""
        return self.distance is not None and self.distance > unlike_results.LIMIT


@dataclasses.dataclass(frozen=True)
class PredictedFiles:
    """Predictions in batches, made while they are asked for.

    Attributes:
        num_files: that are read, the unreadable included.
        has_distances: whether each says how far its image lies from the training images.
    """

    batches: Iterator[list[Prediction]]
    num_files: int
    has_distances: bool
    _failures: image_files.Failures = dataclasses.field(default_factory=image_files.Failures)
    _failures_before: int = 0

    def __iter__(self) -> Iterator[list[Prediction]]:
        return self.batches

    @property
    def num_unreadable(self) -> int:
        """How many of the files were found unreadable so far."""
        return self._failures.count - self._failures_before


def predict_files(
    run: RunDirectory,
    paths: Sequence[str],
    settings: PredictConfig,
    *,
    left_out: Collection[Path] = (),
) -> "PredictedFiles":
    """Predicts the image files that paths stand for, in order, one batch at a time.

    Files that cannot be read are named on standard error and passed over. The names of all files are held
    in memory, and the images of a few batches.

    Args:
        run: see `runs.ensemble.opened`, for several that are averaged.
        paths: files, folders (searched through) and globs.
        left_out: files that are passed over, such as those that are written meanwhile.

    Raises:
        UserError: the run is missing or damaged, the prevalence does not fit it, it cannot tell which
            images to abstain from, or the paths lead to no file or to fewer than parts, or, with parts, to one of
            `left_out` (at once, before TensorFlow is imported); or none of the files can be read (at the
            end).
    """
    image_files.check_paths(paths)
    run.require_trained()
    prevalence = first_prevalence(contract.read(run), settings.prevalence)
    if settings.prevalence == ESTIMATED and (settings.part is not None or left_out):
        raise UserError(
            f"--prevalence {ESTIMATED}: it needs all files at once, not --part of them nor the rest of an "
            "earlier run; give the shares as numbers, such as --prevalence 0.1"
        )
    if settings.abstain:
        applicability.require(run)
    if settings.part is not None:
        _require_equal_parts(paths, left_out)
    failures = image_files.Failures()
    found = image_files.require_files(paths, failures, left_out=left_out)
    names: Sequence[str] = [str(path) for path in found]
    if settings.part is not None:
        number, count = setting_values.parse_part(settings.part)
        whole, names = len(names), path_list.part(names, number, count)
        progress.say(f"part {number} of {count}: {len(names):,} of {whole:,} files")
    missing = failures.count
    progress.say("loading TensorFlow and the model ...")
    predictor = ensemble.load(
        run,
        batch_size=settings.batch_size,
        prevalence=prevalence,
        flip_average=settings.flip_average,
    )
    if not predictor.measures_distances:
        applicability.say_absent(run)
    batches = _predictions(predictor, map(Path, names), failures, settings)
    return PredictedFiles(batches, len(names), predictor.measures_distances, failures, missing)


def _require_equal_parts(paths: Sequence[str], written: Collection[Path]) -> None:
    """Raises `UserError` where what a part writes is itself among the files of the next part, which would
    then be divided elsewhere: some would be in two parts and some in none."""
    for file in written:
        if image_files.would_find(paths, file):
            raise UserError(
                f"--part: the results go to {file}, which is among the given paths, and the other parts "
                "would count it as one of their files; write it elsewhere"
            )


def _predictions(
    predictor: Predictor,
    paths: Iterator[Path],
    failures: image_files.Failures,
    settings: PredictConfig,
) -> Iterator[list[Prediction]]:
    names = predictor.contract.class_names
    batches = predicted_batches(
        predictor, paths, failures, settings, done="predicted", with_distances=True
    )
    count = num_unlike = 0
    if settings.prevalence == ESTIMATED:
        batches = _at_estimated_prevalence(predictor, batches)
    for batch, outputs, labels in batches:
        found = [
            _prediction(path, outputs, place, names, label=int(labels[place]))
            for place, path in enumerate(batch["path"])
        ]
        count, num_unlike = count + len(found), num_unlike + sum(one.is_unlike for one in found)
        yield [_undecided(one) for one in found] if settings.abstain else found
    if num_unlike:
        left = "; left undecided" if settings.abstain else ""
        progress.say(
            f"{num_unlike} of {count} are unlike the training images (distance above 1){left}"
        )


def _at_estimated_prevalence(
    predictor: Predictor, batches: Iterator[tuple[Batch, Outputs, np.ndarray]]
) -> Iterator[tuple[Batch, Outputs, np.ndarray]]:
    """The same for the shares of the classes that all images together speak for; says what these are.

    So nothing is yielded before the last image has been read; images themselves are not kept.

    Raises:
        UserError: there are too few images.
    """
    kept = [({"path": batch["path"]}, outputs) for batch, outputs, _ in batches]
    calibration = predictor.contract.calibration
    assert calibration is not None and calibration.prior is not None
    shares = prior_shift.estimate(
        np.concatenate([outputs.probabilities for _, outputs in kept]),
        calibration.prior,
        class_names=predictor.contract.class_names,
    )
    progress.say(f"estimated prevalence: {shares.text()}")
    progress.say(f"warning: {prior_shift.CAVEAT}")
    moved = predictor.at_prevalence(shares.prevalence)
    for batch, plain in kept:
        outputs = plain.at_prevalence(calibration, shares.prevalence)
        yield batch, outputs, moved.predicted_labels(outputs.probabilities)


def predicted_batches(
    predictor: Predictor,
    paths: Iterator[Path],
    failures: image_files.Failures,
    settings: FilesConfig,
    *,
    done: str,
    with_distances: bool = False,
) -> Iterator[tuple[Batch, Outputs, np.ndarray]]:
    """Yields image files in batches with outputs and int64[B] labels; says at the end what failed.

    Args:
        paths: those that `image_files.require_files` gives.
        failures: takes in the files that cannot be read.
        done: what happens to the others, such as `predicted`.
        with_distances: see `Predictor.outputs`.

    Raises:
        UserError: none of the files can be read.
    """
    images = image_files.decoded_images(
        paths,
        failures,
        image_format=predictor.contract.image_format,
        max_pixels=settings.max_pixels,
        workers=settings.workers,
    )
    count = 0
    batches = image_files.batched(images, predictor.batch_size)
    for batch, outputs in predictor.output_batches(batches, with_distances=with_distances):
        labels = predictor.predicted_labels(outputs.probabilities)
        count += len(labels)
        yield batch, outputs, labels
    failures.say_doubts()
    if failures.count:
        progress.say(f"{failures.count} not read, {count} {done}")
    if not count:
        raise UserError("none of the paths holds an image that can be read")


def _prediction(
    path: Path, outputs: Outputs, place: int, names: Sequence[str], *, label: int
) -> Prediction:
    """Args: place: of the image in its batch."""
    probability, spread = outputs.probabilities[place], outputs.spread
    each = probability if np.ndim(probability) else np.array([1 - probability, probability])
    shown = None if spread is None else spread[place]
    return Prediction(
        path=path,
        probability=float(np.max(probability)),
        predicted=names[label],
        probabilities={name: float(value) for name, value in zip(names, each, strict=True)},
        spread=None if shown is None else float(shown[label] if np.ndim(shown) else shown),
        distance=None if outputs.distances is None else float(outputs.distances[place]),
    )


def _undecided(found: Prediction) -> Prediction:
    return (
        dataclasses.replace(found, predicted=unlike_results.UNDECIDED) if found.is_unlike else found
    )
