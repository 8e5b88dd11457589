"""Weights from a file that PyTorch wrote in its format before 1.6; no PyTorch is needed.

Such a file is a row of pickles, then the numbers:

    magic number, protocol, system        three pickles
    name -> tensor                        a pickle: storage key, offset, shape and strides of each tensor
    storage keys                          a pickle
    per key: int64 count, then the values little endian

A pickle can call any function that it names. Here the few names that such a file needs are admitted, and
what they stand for only records its arguments; everything else is refused.
"""

import collections
import io
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_COUNT_BYTES = 8
Array = np.ndarray


class FormatError(ValueError):
    """The file is damaged, or of another format."""


class _Tensor(NamedTuple):
    """Where a tensor lies: offset and strides in values of its storage."""

    storage: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(
    storage: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_TYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
_ADMITTED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    **{("torch", name): np.dtype(code) for name, code in _TYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Reads one pickle of the file; `types` gets the dtype of every storage that it mentions."""

    def __init__(self, stream: io.BytesIO, types: dict[str, np.dtype]) -> None:
        super().__init__(stream)
        self._types = types

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise FormatError(f"it names {module}.{name}, which a file of weights does not need")
        return _ADMITTED[module, name]

    def persistent_load(self, reference: Any) -> str:
        kind, dtype, key, _, _, view = reference
        if kind != "storage" or view is not None or not isinstance(dtype, np.dtype):
            raise FormatError(f"it holds a reference of an unknown kind, {reference!r}")
        self._types[key] = dtype
        return str(key)


def read(path: Path) -> dict[str, Array]:
    """The tensors of a file by name, as arrays of their shape.

    Raises:
        FormatError: the file is damaged, of another format, or names what weights do not need.
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        return _parsed(content)
    except FormatError:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise FormatError(f"it is damaged ({type(error).__name__}: {error})") from error


def _parsed(content: bytes) -> dict[str, Array]:
    stream, types = io.BytesIO(content), dict[str, np.dtype]()
    magic, protocol, _ = (_Unpickler(stream, {}).load() for _ in range(3))
    if (magic, protocol) != (_MAGIC, _PROTOCOL):
        raise FormatError("it is not a file that PyTorch wrote in its format before 1.6")
    tensors = _Unpickler(stream, types).load()
    keys = _Unpickler(stream, {}).load()
    position, storages = stream.tell(), dict[str, Array]()
    for key in keys:
        count = int.from_bytes(content[position : position + _COUNT_BYTES], "little")
        position += _COUNT_BYTES
        size = count * types[key].itemsize
        if position + size > len(content):
            raise FormatError(f"it ends early, after {len(content):,} bytes")
        storages[key] = np.frombuffer(content, types[key], count, position)
        position += size
    return {name: _array(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


def _array(tensor: _Tensor, storage: Array) -> Array:
    """A copy of the part of a storage that a tensor names."""
    _, offset, shape, strides = tensor
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    within = min((offset, *strides, *shape)) >= 0 and last < storage.size
    if not within or math.prod(shape) > storage.size:
        raise FormatError(f"a tensor of shape {shape} reaches beyond its {storage.size} values")
    steps = tuple(stride * storage.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()
