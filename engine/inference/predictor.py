"""A trained run, ready to give probabilities; what evaluate, predict and explain share.

The model is loaded once and compiled for one batch size. Smaller batches are padded up to it and
the padding's outputs dropped, so a remainder never costs a second trace (half a second or more).
"""

import copy
import dataclasses
import functools
import itertools
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import command_line, files, progress
from engine.base.config import UserError
from engine.base.setting_values import ESTIMATED
from engine.inference import applicability, image_statistics, network_features, precision
from engine.inference.applicability import Applicability, Features
from engine.metrics import predictions, temperature
from engine.metrics.temperature import Calibration
from engine.networks.ends import LOGITS
from engine.runs import contract as contracts
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

Batch = Mapping[str, Any]

UNCHOSEN_THRESHOLD = 0.5


@dataclasses.dataclass(frozen=True)
class Outputs:
    """What a run gives for N images: `probabilities` and `log_odds`, float64[N] of the positive class or
    float64[N, K].

    Both are calibrated as the run's contract says. The log-odds come from the model's logits, and keep
    the order where probabilities are tied at 0 and 1. Without a calibration, in a run of an earlier
    version, the probabilities are the model's own of float32, tied from log-odds of about 17 on.

    Attributes:
        members: where several runs are averaged, what each of them gives.
        distances: float64[N], how far the images lie from the training images: above 1 they are unlike
            them (see `applicability`); None where that was not asked for, or is not known.
        spread: where several runs are averaged, the standard deviation over them, in the shape of the
            probabilities: each member's is calibrated, and brought to the prevalence, as the average is.
    """

    probabilities: np.ndarray
    log_odds: np.ndarray
    members: "tuple[Outputs, ...]" = ()
    distances: np.ndarray | None = None
    spread: np.ndarray | None = None

    @classmethod
    def joined(cls, parts: "Sequence[Outputs]") -> "Outputs":
        """Those of several batches, in order, as one."""
        members = zip(*(part.members for part in parts), strict=True)
        return cls(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate([part.log_odds for part in parts]),
            members=tuple(cls.joined(of_one) for of_one in members),
            distances=_joined([part.distances for part in parts]),
            spread=_joined([part.spread for part in parts]),
        )

    def at_prevalence(self, calibration: Calibration, prevalence: Sequence[float]) -> "Outputs":
        """What the run gives for other shares of the classes; members stay as they are.

        Args:
            calibration: the run's, by which these outputs were calibrated, at its prior.
            prevalence: K numbers.

        Raises:
            UserError: the prior is not known.
        """
        moved = calibration.moved(self.log_odds, prevalence)
        each = [
            predictions.probabilities(calibration.log_odds(member.log_odds, prevalence))
            for member in self.members
        ]
        return dataclasses.replace(
            self,
            probabilities=predictions.probabilities(moved),
            log_odds=moved,
            spread=np.std(each, axis=0) if each else self.spread,
        )


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Arrays one after the other; None where one is absent."""
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None


class Predictor:
    """A model with the classes, the image format and the threshold that belong to it.

    Args:
        model: a Keras model from uint8[B, H, W, C] to float[B, 1] or float[B, K] probabilities.
        contract: the images that the model takes, its classes, and the decision threshold; of two
            classes without one, 0.5 decides.
        batch_size: the one batch size that the model is compiled for.
        applicability: what measures how far images lie from the training images, if there is any.
        prevalence: the share of each class where the images come from, K numbers; None for that
            which training implied. It changes probabilities and the threshold on them; see
            `engine.metrics.temperature`.
        flip_average: whether to average the logits of each image and of its mirror image. Calibration and
            threshold stay those of plain outputs.

    Raises:
        UserError: a prevalence is given that the contract holds no prior for; or the model does not
            take such images, or gives another number of classes.
    """

    def __init__(
        self,
        model: Any,
        contract: InferenceContract,
        *,
        batch_size: int = 64,
        applicability: Applicability | None = None,
        prevalence: Sequence[float] | None = None,
        flip_average: bool = False,
    ) -> None:
        self.model = model
        self.contract = contract
        self.applicability = applicability
        self.batch_size = batch_size
        self.flip_average = flip_average
        self._decide_at(prevalence)
        self._check_model()

    @classmethod
    def load(
        cls,
        run_directory: Path | str,
        *,
        batch_size: int = 64,
        prevalence: str | Sequence[float] | None = None,
        precisions: Collection[str] | None = None,
        flip_average: bool = False,
    ) -> "Predictor":
        """Loads a run's best weights, its calibration and its threshold.

        Args:
            prevalence: the share of the positive class, or of each class, as `0.1` or `0.7,0.2,0.1`;
                or numbers, one for each class.
            precisions: see `load_model`.
            flip_average: whether to average over each image and its mirror image.

        Raises:
            UserError: the directory holds no trained run, or one that cannot be read; or the
                prevalence does not fit the run.
        """
        run = RunDirectory(run_directory)
        run.require_trained()
        contract = contracts.read(run)
        if contract.is_binary and contract.threshold is None:
            progress.say(
                f"warning: {run.path} has no threshold for this model yet, as its training has not "
                "ended; using 0.5, which was not chosen on validation"
            )
        shares = wanted_prevalence(contract, prevalence)
        return cls(
            load_model(run.model, run, precisions=precisions),
            contract,
            batch_size=batch_size,
            prevalence=shares,
            applicability=applicability.read(run),
            flip_average=flip_average,
        )

    def at_prevalence(self, prevalence: Sequence[float]) -> "Predictor":
        """The same model for other shares of the classes, K numbers; nothing is compiled again.

        Raises:
            UserError: the contract holds no prior.
        """
        wanted_prevalence(self.contract, prevalence)
        moved = copy.copy(self)
        moved._decide_at(prevalence)
        return moved

    def _decide_at(self, prevalence: Sequence[float] | None) -> None:
        self.prevalence = prevalence
        self.threshold = deciding_threshold(self.contract, prevalence)

    @property
    def measures_distances(self) -> bool:
        """Whether it can say how far images lie from the training images."""
        return self.applicability is not None

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Probabilities of uint8[N, H, W, C] images.

        Returns:
            float64[N] of the positive class, or float64[N, K] with more than two classes.

        Raises:
            UserError: the images have another shape or type.
        """
        return self.outputs(images).probabilities

    def outputs(self, images: np.ndarray, *, with_distances: bool = False) -> Outputs:
        """Probabilities and log-odds of uint8[N, H, W, C] images.

        Args:
            with_distances: whether to measure how far the images lie from the training images too, if
                that can be done (`measures_distances`).

        Raises:
            UserError: the images have another shape or type.
        """
        if self.applicability is None or not with_distances:
            probabilities, logits = self._run(self._compiled, images)
            return self._outputs(*self._averaged(probabilities, logits, images))
        probabilities, logits, features = self._run(self._compiled_with_features, images)
        outputs = self._outputs(*self._averaged(probabilities, logits, images))
        distances = self.applicability.distances(
            {**features, **image_statistics.statistics(images)}
        )
        return dataclasses.replace(outputs, distances=distances)

    def features(self, images: np.ndarray) -> Features:
        """What the distance of uint8[N, H, W, C] images from the training images is measured in.

        Raises:
            UserError: the images have another shape or type.
        """
        _, _, features = self._run(self._compiled_with_features, images)
        return {**features, **image_statistics.statistics(images)}

    def _averaged(
        self, probabilities: np.ndarray, logits: np.ndarray, images: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The model's outputs, float64[N, outputs]; averaged with those of the mirror images if asked for.

        Logits are averaged, not probabilities: those of float32 are all 1 from logits of 17 on.
        """
        if not self.flip_average:
            return probabilities, logits
        from scipy import special

        _, mirrored = self._run(self._compiled, np.ascontiguousarray(images[:, :, ::-1]))
        mean = (logits + mirrored) / 2
        if mean.shape[1] == 1:
            return special.expit(mean), mean
        return special.softmax(mean, axis=1), mean

    def _outputs(self, probabilities: np.ndarray, logits: np.ndarray) -> Outputs:
        """Calibrated outputs, from the model's own, float64[N, outputs]."""
        log_odds = predictions.log_odds(logits)
        calibration = self.contract.calibration
        if calibration is None:
            return Outputs(predictions.as_probabilities(probabilities), log_odds)
        calibrated = calibration.log_odds(log_odds, self.prevalence)
        return Outputs(predictions.probabilities(calibrated), calibrated)

    def _run(self, compiled: Any, images: np.ndarray) -> Any:
        """What a compiled function gives for any number of images: arrays, and dictionaries of them."""
        if images.shape[1:] != self.contract.image_format.image_shape or images.dtype != np.uint8:
            raise UserError(
                f"got {images.dtype} images of shape {images.shape[1:]}; this run expects uint8 "
                f"images of shape {self.contract.image_format.image_shape}"
            )
        import keras

        starts = range(0, max(1, len(images)), self.batch_size)  # no image: one block of padding
        parts = [self._run_block(compiled, images[at : at + self.batch_size]) for at in starts]
        return keras.tree.map_structure(lambda *found: np.concatenate(found), *parts)

    def predict_batches(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, np.ndarray]]:
        """Yields each batch with its probabilities, in order.

        Args:
            batches: a `tf.data.Dataset` or an iterator of dicts that hold `image`,
                uint8[B, H, W, C]; what else they hold is passed on.
        """
        for batch, outputs in self.output_batches(batches):
            yield batch, outputs.probabilities

    def output_batches(
        self, batches: Iterable[Batch], *, with_distances: bool = False
    ) -> Iterator[tuple[Batch, Outputs]]:
        """Yields each batch with its outputs, in order; see `predict_batches`."""
        numpy_batches = getattr(batches, "as_numpy_iterator", None)
        for batch in numpy_batches() if numpy_batches else batches:
            yield batch, self.outputs(np.asarray(batch["image"]), with_distances=with_distances)

    def predicted_labels(self, probabilities: np.ndarray) -> np.ndarray:
        """int64[N] class indices, by the threshold or by the largest probability."""
        return predictions.predict_labels(probabilities, self.threshold)

    def _run_block(self, compiled: Any, images: np.ndarray) -> Any:
        """As `_run`, of at most one batch."""
        import keras

        count = len(images)
        if count < self.batch_size:
            padding = [(0, self.batch_size - count)] + [(0, 0)] * 3
            images = np.pad(images, padding)
        found = compiled(images)
        return keras.tree.map_structure(lambda x: np.asarray(x, np.float64)[:count], found)

    @functools.cached_property
    def _compiled(self) -> Any:
        """Probabilities and logits, float32[B, outputs], of uint8[B, H, W, C] images."""
        network, has_logits = self._network()

        def forward(images: Any) -> Any:
            return _ends_of(network(images, training=False), has_logits)

        return self._traced(forward)

    @functools.cached_property
    def _compiled_with_features(self) -> Any:
        """As `_compiled`, and a dictionary of the network's features, float32[B, F]."""
        network, has_logits = self._network()
        watched = network_features.watched(network)

        def forward(images: Any) -> Any:
            outputs, features = watched(images)
            return *_ends_of(outputs, has_logits), features

        return self._traced(forward)

    def _network(self) -> tuple[Any, bool]:
        """The model, which gives its logits too if it has a layer of that name, and whether it has."""
        import keras

        has_logits = LOGITS in (layer.name for layer in self.model.layers)
        if not has_logits:
            return self.model, False
        layer = self.model.get_layer(LOGITS)
        return keras.Model(self.model.input, [self.model.output, layer.output]), True

    def _traced(self, forward: Any) -> Any:
        import tensorflow as tf

        shape = (self.batch_size, *self.contract.image_format.image_shape)
        signature = [tf.TensorSpec(shape, tf.uint8)]
        return tf.function(forward, input_signature=signature, autograph=False)

    def _check_model(self) -> None:
        takes, gives = self.model.input_shape, self.model.output_shape
        sizes = itertools.zip_longest(takes[1:], self.contract.image_format.image_shape)
        if any(size not in (None, wanted) for size, wanted in sizes):
            raise UserError(
                f"the model takes images of shape {takes[1:]} but the run was trained on "
                f"{self.contract.image_format.image_shape}; its files are not of one run"
            )
        self._num_outputs = int(gives[-1])
        num_classes = len(self.contract.class_names)
        if self._num_outputs != num_classes and (self._num_outputs, num_classes) != (1, 2):
            raise UserError(
                f"the model gives {self._num_outputs} probabilities but the run names "
                f"{num_classes} classes; its files are not of one run"
            )


def wanted_prevalence(
    contract: InferenceContract, prevalence: str | Sequence[float] | None
) -> tuple[float, ...] | None:
    """The share of each class that a setting gives; None where it gives none.

    Raises:
        UserError: it is not valid, or not for so many classes, or the contract holds no prior.
    """
    if prevalence is None:
        return None
    shares = (
        temperature.prevalence_of(prevalence, contract.class_names)
        if isinstance(prevalence, str)
        else tuple(prevalence)
    )
    calibration = contract.calibration or Calibration()
    calibration.threshold(UNCHOSEN_THRESHOLD, shares)  # raises where there is no prior
    return shares


def first_prevalence(contract: InferenceContract, setting: str | None) -> tuple[float, ...] | None:
    """The shares to predict at first: as `wanted_prevalence`; to be estimated, those of training, None.

    Raises:
        UserError: as `wanted_prevalence`.
    """
    if setting != ESTIMATED:
        return wanted_prevalence(contract, setting)
    count = len(contract.class_names)
    wanted_prevalence(contract, [1 / count] * count)  # raises where there is no prior
    return None


def deciding_threshold(
    contract: InferenceContract, prevalence: Sequence[float] | None = None
) -> float | None:
    """The threshold of two classes, 0.5 where none was chosen; None of more classes."""
    if not contract.is_binary:
        return None
    threshold = UNCHOSEN_THRESHOLD if contract.threshold is None else contract.threshold
    return (contract.calibration or Calibration()).threshold(threshold, prevalence)


def _ends_of(outputs: Any, has_logits: bool) -> tuple[Any, Any]:
    """Probabilities and logits in float32."""
    import tensorflow as tf

    probabilities, logits = outputs if has_logits else (outputs, _logits_of(outputs))
    return tf.cast(probabilities, tf.float32), tf.cast(logits, tf.float32)


def _logits_of(probabilities: Any) -> Any:
    """Logits that give these probabilities, of a model that has no layer of that name."""
    import tensorflow as tf

    logs = tf.math.log(probabilities)
    return logs - tf.math.log1p(-probabilities) if probabilities.shape[-1] == 1 else logs


def load_model(
    path: Path, run: RunDirectory | None = None, *, precisions: Collection[str] | None = None
) -> Any:
    """A saved Keras model without its optimizer, in the precision that it was trained in or in float32.

    Args:
        precisions: the lower precisions, as dtype policies, that a model trained in them may be used in;
            None: those that the hardware is fast at.
        run: the run that the file is of. Where the file holds layers that Keras does not know, and the
            run was trained with `--model` naming a user's function, that builds the network again, and
            only the weights are read from the file.

    Raises:
        UserError: the file is damaged, or holds layers whose code is not found.
    """
    with command_line.quiet_imports(), command_line.without_scikit_learn():
        import engine.networks.layers  # noqa: F401  registers the layers that a saved model may name
        from engine.networks import saved_models

    wanted = precision.fast_here() if precisions is None else precisions
    try:
        return saved_models.load(path, precisions=wanted)
    except Exception as error:
        rebuilt = None if run is None else _built_again(run)
        if rebuilt is not None:
            rebuilt.load_weights(path)
            return rebuilt
        reason = saved_models.reason(error)
        raise UserError(
            f"{path}: cannot be loaded ({reason}); expected a model that engine.train saved"
        ) from error


def _built_again(run: RunDirectory) -> Any:
    """The form that a run saves, with fresh weights, from the user's function; None of other runs."""
    from engine.base.settings import TrainConfig
    from engine.networks import registry, stock

    if not run.config.is_file() or not zipfile.is_zipfile(run.model):
        return None
    config = TrainConfig.from_json(files.read_json(run.config), source=str(run.config))
    if ":" not in config.model:
        return None
    network, contract = registry.resolve(config.model), contracts.read(run)
    image_format, num_classes = contract.image_format, len(contract.class_names)
    model = registry.build(network, config, image_format, num_classes)
    form = registry.build_training_form(network, model, config, image_format, num_classes)
    return stock.StockModel(model, form, say=lambda line: None).up_to_date()
