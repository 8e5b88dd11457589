"""Which threads of a process are inside tf.data's tuner, by the return addresses on their native stacks.

Linux shows neither a name (TensorFlow gives its threads none that the kernel knows) nor the stack of a
thread, but the stack pointer of one that sleeps in the kernel, which the tuner does but for moments.
"""

import ctypes
import struct
from pathlib import Path

import tensorflow as tf

_LIBRARY = "libtensorflow_cc.so.2"
# tensorflow::data::model::Model::OptimizeLoop, as TensorFlow 2.21 exports it.
_OPTIMIZE_LOOP = (
    "_ZN10tensorflow4data5model5Model12OptimizeLoopENS1_17AutotuneAlgorithmESt8functionIFlvEEd"
    "St8optionalIlERNS1_16RamBudgetManagerEPN3tsl19CancellationManagerE"
)
_FUNCTION_BYTES = 0x451
_STACK_BYTES = 8192  # from the stack pointer on; the tuner waits a few frames deep


def tuner_threads(pid: int | str = "self") -> set[int]:
    """The threads of this process, or of a child, that are inside tf.data's tuner, by their number."""
    start = _address_in(pid)
    if start is None:
        return set()
    inside = range(start, start + _FUNCTION_BYTES)
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name) for task in tasks if any(w in inside for w in _stack(task))}


def _address_in(pid: int | str) -> int | None:
    """Where the function lies in a process; None before it has loaded TensorFlow."""
    library = ctypes.CDLL(str(Path(tf.sysconfig.get_lib()) / _LIBRARY))
    here = ctypes.cast(getattr(library, _OPTIMIZE_LOOP), ctypes.c_void_p).value
    own, other = _base("self"), _base(pid)
    assert here is not None and own is not None
    return None if other is None else here - own + other


def _base(pid: int | str) -> int | None:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.endswith(_LIBRARY):
            return int(line.partition("-")[0], 16)
    return None


def _stack(task: Path) -> tuple[int, ...]:
    """The words above the stack pointer of a sleeping thread; none of one that runs or has ended."""
    try:
        fields = (task / "syscall").read_text().split()
        if len(fields) < 3:
            return ()
        with open(task / "mem", "rb", buffering=0) as memory:
            memory.seek(int(fields[-2], 16))
            read = memory.read(_STACK_BYTES)
    except OSError:
        return ()
    return struct.unpack(f"{len(read) // 8}Q", read[: len(read) // 8 * 8])
