"""A run's image files with the evidence for a class in each; what `engine.explain` draws, and returns in Python."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import progress
from engine.base.config import UserError
from engine.base.run_settings import EvidenceConfig
from engine.explaining import projection, request
from engine.images import decoding, image_files
from engine.images.format import ImageFormat
from engine.inference import ensemble, explanation, occlusion, prediction
from engine.inference.evidence import Explainer
from engine.runs.run_directory import RunDirectory


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Where a run found the evidence for a class in an image file.

    Attributes:
        path: the image file.
        predicted: the class, by the run's threshold or, of more than two, the most probable one.
        probability: that of the positive class of two, of the predicted one of more.
        probability_of: what it is of, such as `P(PNEUMONIA)`, or `P` of the predicted class.
        target: the class that the evidence is for.
        evidence: float32[h, w] over the network's input, not negative, in the method's unit; all zero
            where nothing speaks for the class.
        pixels: uint8[H, W, C], the network's input.
        image_format: how that was made of the file.
    """

    path: Path
    predicted: str
    probability: float
    probability_of: str
    target: str
    evidence: np.ndarray
    pixels: np.ndarray
    image_format: ImageFormat

    @property
    def caption(self) -> str:
        """The predicted class with a probability, as titles give it."""
        return f"{self.predicted}, {self.probability_of} = {self.probability:.3f}"

    def image(self, *, max_pixels: int | None = None) -> np.ndarray:
        """The image file at its own size, upright, uint8[H, W, 1 or 3].

        Raises:
            UserError: it cannot be read any more.
        """
        limit = decoding.DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
        channels, bits = self.image_format.channels, self.image_format.bits
        try:
            return decoding.decode_whole(self.path, channels=channels, bits=bits, max_pixels=limit)
        except decoding.DecodeError as error:
            raise UserError(f"{self.path}: {error}") from error

    def on_image(self, size: tuple[int, int]) -> np.ndarray:
        """The evidence at each pixel of the file, whose (height, width) is `size`; float32[H, W]."""
        return projection.on_image(self.evidence, self.image_format, size)


class ExplainedRun:
    """A run, loaded to explain images.

    Args:
        run: one that `request.check` has passed.

    Attributes:
        predictor: the run at work.
        class_names: by label.
        image_format: of the network's input.

    Raises:
        UserError: the model cannot be loaded.
    """

    def __init__(self, run: RunDirectory, settings: EvidenceConfig) -> None:
        progress.say("loading TensorFlow and the model ...")
        self._settings = settings
        self.predictor = ensemble.load(
            run, batch_size=settings.batch_size, prevalence=settings.prevalence
        )
        self.class_names = self.predictor.contract.class_names
        self.image_format = self.predictor.contract.image_format
        self._target = request.target_class(settings.target, self.class_names)
        self._named_layer = explanation.named_layer(run)

    @functools.cached_property
    def explainer(self) -> Explainer:
        """What finds the evidence.

        Raises:
            UserError: the model has no such layer, or no feature map at all.
        """
        settings = self._settings
        return explanation.of_predictor(
            self.predictor,
            method=settings.method,
            layer=settings.layer,
            default=self._named_layer,
            patch=settings.patch,
            stride=settings.stride,
            baseline=settings.baseline or occlusion.MEAN,
        )

    @property
    def model(self) -> Any:
        """The one Keras model of a run that is no ensemble."""
        return self.predictor.model

    def explained(
        self, paths: Iterator[Path], failures: image_files.Failures
    ) -> Iterator[list[Explanation]]:
        """Explains files in order, a batch at a time.

        Args:
            paths: those that `image_files.require_files` gives.
            failures: takes in the files that cannot be read, which are left out.

        Raises:
            UserError: none of the files can be read.
        """
        for batch, outputs, predicted in prediction.predicted_batches(
            self.predictor, paths, failures, self._settings, done="explained"
        ):
            shown = predicted if self._target is None else np.full_like(predicted, self._target)
            evidence = self.explainer.evidence(batch["image"], shown)
            is_binary = self.predictor.contract.is_binary
            yield [
                Explanation(
                    path=path,
                    predicted=self.class_names[predicted[place]],
                    probability=float(np.max(outputs.probabilities[place])),
                    probability_of=f"P({self.class_names[1]})" if is_binary else "P",
                    target=self.class_names[shown[place]],
                    evidence=evidence[place],
                    pixels=batch["image"][place],
                    image_format=self.image_format,
                )
                for place, path in enumerate(batch["path"])
            ]


def explain_files(
    run: RunDirectory, paths: Sequence[str], settings: EvidenceConfig
) -> Iterator[list[Explanation]]:
    """Explains the files that paths stand for, in order, a batch at a time.

    Args:
        run: see `runs.ensemble.opened`, for several that are averaged.
        paths: files, folders (searched through) and globs.

    Raises:
        UserError: as `request.check` and `ExplainedRun.explained`, or the paths lead to no file.
    """
    image_files.check_paths(paths)
    request.check(run, settings)
    failures = image_files.Failures()
    found = image_files.require_files(paths, failures)
    return ExplainedRun(run, settings).explained(found, failures)
