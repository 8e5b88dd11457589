"""The arrays of a network by layer: read from a file of Keras, and given to a network.

Only arrays are read, whatever else a file holds: no layer is built from it, and no code is run.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base.config import UserError
from engine.networks.ends import LOGITS, STANDARDIZE
from engine.networks.pretrained.preprocessing import Preprocessing

Array = np.ndarray
Arrays = Mapping[str, Sequence[Array]]  # layer -> its arrays, in Keras' order
SUFFIXES = (".keras", ".weights.h5", ".h5")
_INSIDE = "model.weights.h5"  # of a .keras file


def read(path: Path) -> dict[str, list[Array]]:
    """The arrays of a `.keras`, `.weights.h5` or `.h5` file by the name of their layer.

    Raises:
        UserError: it cannot be read, or names no layers.
    """
    import h5py

    try:
        source: Any = path
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read(_INSIDE))
        with h5py.File(source, "r") as file:
            of_keras_2 = file.get("model_weights", file)
            if "layer_names" in of_keras_2.attrs:
                return _of_keras_2(of_keras_2)
            return _of_keras_3(file)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(
            f"--weights {path}: cannot be read ({error}); expected a file of Keras, "
            f"{', '.join(SUFFIXES)}"
        ) from error


def _of_keras_3(file: Any) -> dict[str, list[Array]]:
    """The format of `.keras` and `.weights.h5`: each group that holds `vars` names its layer."""
    found: dict[str, list[Array]] = {}

    def visit(path: str, group: Any) -> None:
        name = group.attrs.get("name")
        if path.rpartition("/")[2] == "vars" and name is not None and len(group):
            found[str(name)] = [np.asarray(group[key]) for key in sorted(group, key=int)]

    file.visititems(visit)
    if not found:
        raise ValueError("it does not name its layers, as Keras 3.8 and later do")
    return found


def _of_keras_2(file: Any) -> dict[str, list[Array]]:
    """The format of `.h5`: a list of layers, and for each a list of arrays."""
    groups = {_text(name): file[name] for name in file.attrs["layer_names"]}
    return {
        layer: [np.asarray(group[name]) for name in group.attrs["weight_names"]]
        for layer, group in groups.items()
    }


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def assign(model: Any, arrays: Arrays, preprocessing: Preprocessing, *, source: str) -> None:
    """Gives every layer before the classifier and its standardization its arrays, or changes nothing.

    The first kernel may be that of colour images where the network's is for grey ones.

    Args:
        source: where the arrays come from, for messages.

    Raises:
        UserError: a layer is missing, or an array has another shape.
    """
    fresh = (STANDARDIZE, LOGITS)
    layers = [layer for layer in model.layers if layer.weights and layer.name not in fresh]
    given, misfits = {}, []
    for layer in layers:
        values = list(arrays.get(layer.name, ()))
        if layer is layers[0] and values and _is_for_colour(layer, values[0]):
            values[0] = preprocessing.for_grey(values[0])
        found = [value.shape for value in values]
        expected = [tuple(variable.shape) for variable in layer.weights]
        if found != expected:
            misfits.append(f"{layer.name} has {_shapes(found)}, expected {_shapes(expected)}")
        given[layer.name] = values
    if misfits:
        raise UserError(
            f"{source}: {len(misfits)} of the {len(layers)} layers of {model.name} do not fit: "
            f"{misfits[0]}{', ...' if len(misfits) > 1 else ''}; give weights of the same network"
        )
    for layer in layers:
        layer.set_weights(given[layer.name])


def _is_for_colour(layer: Any, kernel: Array) -> bool:
    return kernel.ndim == 4 and kernel.shape[2] == 3 and layer.kernel.shape[2] != 3


def _shapes(shapes: Sequence[tuple[int, ...]]) -> str:
    return " ".join("x".join(map(str, shape)) for shape in shapes) or "no arrays"
