"""A run as one Keras model in float32 that gives calibrated probabilities: what every format is made of.

    image uint8[B, H, W, C] -> probabilities float32[B, K], a column for each class

Temperature, prevalence and, of several runs, their average are part of the model, so that probabilities and the
run's threshold belong together wherever it is used. Its layers are stock Keras, as those of the run's
`model.keras` are; networks that were trained in a lower precision compute in float32 here.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from engine.inference import predictor
from engine.metrics.temperature import Calibration
from engine.networks.ends import LOGITS
from engine.runs import contract as contracts
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

IMAGE, PROBABILITIES = "image", "probabilities"  # the names of what it takes and gives
_LEAST, _MOST = 1e-30, 1 - 2**-24  # probabilities whose logarithms are finite in float32


def build(run: RunDirectory, *, prevalence: Sequence[float] | None = None) -> Any:
    """The model of a run, of an ensemble, or of several runs that are averaged.

    Args:
        prevalence: the share of each class that probabilities are given for; None for that which training
            implied.

    Raises:
        UserError: a model is damaged, or does not fit its run; or the prevalence does not fit the runs.
    """
    contract = contracts.read(run)
    inputs = keras.Input(contract.image_format.image_shape, dtype="uint8", name=IMAGE)
    logits = _calibrated(run, contract, inputs, prevalence, itertools.count(1))
    if contract.is_binary:
        logits = ops.concatenate([ops.zeros_like(logits), logits], axis=-1)
    outputs = keras.layers.Activation("softmax", dtype="float32", name=PROBABILITIES)(logits)
    return keras.Model(inputs, outputs, name="calibrated")


def _calibrated(
    run: RunDirectory,
    contract: InferenceContract,
    inputs: Any,
    prevalence: Sequence[float] | None,
    numbers: Iterator[int],
) -> Any:
    """Calibrated logits, float32[B, 1] of two classes or float32[B, K]; see `inference.ensemble`.

    Args:
        numbers: gives each network of an ensemble a name of its own.
    """
    calibration = contract.calibration or Calibration()
    if run.members:
        members = [
            _calibrated(member, contracts.read(member), inputs, calibration.prior, numbers)
            for member in run.members
        ]
        if not contract.is_binary:
            members = [ops.log_softmax(logits, axis=-1) for logits in members]
        logits = ops.mean(ops.stack(members), axis=0)
    else:
        logits = _own_logits(run, contract, inputs, f"network{next(numbers)}")
    if calibration.temperature != 1:
        logits = logits / calibration.temperature
    shifts = calibration.logit_shifts(prevalence, logits.shape[-1])
    return logits + np.asarray(shifts, np.float32) if shifts.any() else logits


def _own_logits(run: RunDirectory, contract: InferenceContract, inputs: Any, name: str) -> Any:
    """The logits of one network, float32[B, 1] of two classes or float32[B, K]."""
    model = predictor.load_model(run.model, run, precisions=())
    predictor.Predictor(model, contract)  # raises where they do not fit
    if LOGITS in (layer.name for layer in model.layers):
        network = keras.Model(model.input, model.get_layer(LOGITS).output, name=name)
        logits = network(inputs)
    else:
        network = keras.Model(model.input, model.output, name=name)
        logits = _logits_of(network(inputs))
    logits = ops.cast(logits, "float32")
    if contract.is_binary and logits.shape[-1] == 2:
        return logits[:, 1:] - logits[:, :1]
    return logits


def _logits_of(probabilities: Any) -> Any:
    """Logits of a model that has no layer of that name, from its probabilities."""
    bounded = ops.clip(ops.cast(probabilities, "float32"), _LEAST, _MOST)
    logs = ops.log(bounded)
    return logs - ops.log1p(-bounded) if probabilities.shape[-1] == 1 else logs
