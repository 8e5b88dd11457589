"""`metadata.json`: what belongs to an exported model, so that it can be used where nothing else is known of it.

class_names, positive_class        the columns of the probabilities
threshold, threshold_rule          of the positive class of two; null with more, or where none was chosen
calibration, prevalence            what the probabilities hold for; both are part of the model
image_format                       how an image file becomes the model's input
inputs, outputs                    by name: dtype and shape
model                              the digest of the run's model
verification                       how far the export differs from the run, and on what images
files                              those of the export, beside this one; only they are ever replaced
"""

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import engine
from engine.base import files
from engine.base.export_settings import ExportConfig
from engine.images import decoding
from engine.inference.predictor import deciding_threshold
from engine.runs.contract import InferenceContract
from engine.runs.run_directory import RunDirectory

FORMAT_VERSION = 1
NAME = "metadata.json"
_PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "ai-edge-litert", "pillow")
_NOTE = "research software; not for diagnosis"


def describe(
    run: RunDirectory,
    contract: InferenceContract,
    settings: ExportConfig,
    *,
    prevalence: Sequence[float] | None,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
) -> dict[str, Any]:
    """The contents of `metadata.json`, but for `verification` and `files`.

    Args:
        prevalence: the share of each class that probabilities are given for; None for the prior.
        inputs, outputs: by name, `[dtype, shape]`; -1 stands for any size.
    """
    calibration = contract.calibration
    return {
        "format_version": FORMAT_VERSION,
        "note": _NOTE,
        "format": settings.format,
        "quantize": settings.quantize,
        "class_names": list(contract.class_names),
        "positive_class": contract.positive_class,
        "threshold": deciding_threshold(contract, prevalence),
        "threshold_rule": contract.threshold_rule,
        "calibration": None if calibration is None else calibration.to_json(),
        "prevalence": None if prevalence is None else list(prevalence),
        "image_format": contract.image_format.to_json(),
        "resize_method": decoding.RESIZE_METHOD,
        "inputs": inputs,
        "outputs": outputs,
        "model": run.model_digest(),
        "num_members": max(1, len(run.members)),
        "versions": {"tfdata-engine": engine.__version__, **_versions()},
    }


def write(directory: Path, values: dict[str, Any]) -> None:
    """Writes `metadata.json` into a directory."""
    files.write_json(directory / NAME, values)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
