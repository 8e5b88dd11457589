"""Model files: stock Keras models in float32 that can be loaded in the precision they were trained in.

A `.keras` file is a ZIP archive. One member more than Keras writes, `training_precision.json`, names the
dtype policy of the training and the layers that had it; Keras takes no notice of it. On hardware with fast
bfloat16 the model is built in that precision again, which is what its threshold was chosen in.
"""

import contextlib
import json
import zipfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from engine.networks import layer_paths

PRECISION = "training_precision.json"
_CONFIG = "config.json"
_POLICIES = ("DTypePolicy", "FloatDTypePolicy")


def note_precision(path: Path, model: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Adds the precision of the training to a model file; nothing if it was float32 throughout.

    Args:
        model: what the file holds.
        pairs: (layer as trained, layer in `model`).
    """
    lowered = [(trained.dtype_policy.name, saved) for trained, saved in pairs]
    lowered = [(policy, saved) for policy, saved in lowered if policy.startswith("mixed_")]
    if not lowered:
        return
    paths = {id(layer): path for path, layer in layer_paths.walk(model)}
    names = [paths[id(saved)] for _, saved in lowered if id(saved) in paths]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(PRECISION, json.dumps({"policy": lowered[0][0], "layers": names}))


def load(path: Path, *, precisions: Collection[str] = ()) -> Any:
    """A saved model, ready to be called; without its optimizer.

    Args:
        precisions: dtype policies that are fast here; of a model that was trained in one of them, the
            layers that had it get it again. Any other model computes in float32, as it is saved.
    """
    import keras

    wanted, config = _wanted(path)
    if config is None or wanted.get("policy") not in precisions:
        return keras.models.load_model(path, compile=False)
    _lower(config["config"]["layers"], wanted["policy"], set(wanted["layers"]), "")
    model = keras.models.model_from_json(json.dumps(config))
    model.load_weights(path)
    return model


def reason(error: Exception) -> str:
    """Why a model cannot be loaded: the first line of what Keras says, which may say nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Sets Keras' global dtype policy within a block, and puts the old one back."""
    import keras

    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)


def in_precision(config: Any, precision: str) -> Any:
    """A layer's configuration with every dtype policy in it, those of layers inside it too, replaced."""
    if isinstance(config, dict):
        if config.get("class_name") in _POLICIES:
            return precision
        return {key: in_precision(value, precision) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(in_precision(value, precision) for value in config)
    return config


def _wanted(path: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The precision of the training, and the model's configuration if there is a precision."""
    try:
        with zipfile.ZipFile(path) as archive:
            if PRECISION not in archive.namelist():
                return {}, None
            return json.loads(archive.read(PRECISION)), json.loads(archive.read(_CONFIG))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}, None  # Keras says what is wrong with the file


def _lower(layers: list[dict[str, Any]], policy: str, paths: set[str], prefix: str) -> None:
    """Changes the policy of the layers at `paths` in a model's configuration, in place."""
    for layer in layers:
        config = layer["config"]
        path = f"{prefix}{config.get('name')}"
        if isinstance(config.get("layers"), list):
            _lower(config["layers"], policy, paths, f"{path}/")
        elif path in paths:
            layer["config"] = in_precision(config, policy)
