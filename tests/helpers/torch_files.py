"""Files of weights as PyTorch wrote them before 1.6, opcode by opcode, without PyTorch."""

import pickle
import struct

import numpy as np

_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"
_STORAGES = {"float32": b"ctorch\nFloatStorage\n", "int64": b"ctorch\nLongStorage\n"}


def write(path, arrays, *, truncate=0, function=b"ctorch._utils\n_rebuild_tensor_v2\n"):
    """Writes arrays by name, each in a storage of its own, in the file's order of axes.

    Args:
        truncate: bytes to leave out at the end.
        function: the opcode that names what rebuilds a tensor.
    """
    items = b"".join(
        _text(name) + _tensor(str(i), array, function)
        for i, (name, array) in enumerate(arrays.items())
    )
    parts = [
        *(
            pickle.dumps(part, 2)
            for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        ),
        b"\x80\x02" + _ORDERED_DICT + b"(" + items + b"u.",
        pickle.dumps([str(i) for i in range(len(arrays))], 2),
    ]
    for array in arrays.values():
        values = array.ravel(order="K")
        parts.append(struct.pack("<q", values.size) + values.tobytes())
    content = b"".join(parts)
    path.write_bytes(content[: len(content) - truncate])
    return path


def _tensor(key, array, function):
    strides = tuple(step // array.itemsize for step in array.strides)
    storage = (
        b"(" + _text("storage") + _STORAGES[str(array.dtype)] + _text(key) + _text("cpu")
    ) + (_number(array.size) + b"NtQ")
    return (function + b"(" + storage + _number(0) + _tuple(array.shape) + _tuple(strides)) + (
        b"\x89" + _ORDERED_DICT + b"tR"
    )


def _text(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def _number(value):
    return b"J" + struct.pack("<i", value)


def _tuple(values):
    return b"(" + b"".join(map(_number, values)) + b"t"


def some_arrays():
    """Arrays of a few shapes; one with its axes in another order in memory."""
    values = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    return {"a.weight": values, "b.weight": values.T, "c.count": np.array([7, 8])}
