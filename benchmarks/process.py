"""Processor time and memory of this process, and the load of the machine; standard library only.

Without /proc (on systems other than Linux), the figures fall back to what Python provides.
"""

import contextlib
import dataclasses
import os
import resource
import sys
import time
from pathlib import Path

_PROC = Path("/proc")


def cpu_seconds() -> float:
    """Processor time of this process, its threads and its running and ended children."""
    try:
        return sum(_ticks(pid) for pid in _tree(os.getpid())) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + usage.ru_utime + usage.ru_stime


def reset_peak_memory() -> None:
    """Resets the peak if the kernel permits it; otherwise it stays the peak since the start."""
    with contextlib.suppress(OSError):
        (_PROC / "self/clear_refs").write_text("5")


def peak_memory_bytes() -> int:
    """The largest resident size since `reset_peak_memory`."""
    return _status("VmHWM") or _peak_since_start()


def resident_bytes() -> int:
    """The resident size now."""
    return _status("VmRSS") or _peak_since_start()


@dataclasses.dataclass
class Bystanders:
    """Measures how busy other processes keep the machine, from creation until `share` is called."""

    def __post_init__(self) -> None:
        self._busy, self._own, self._clock = _machine_busy(), cpu_seconds(), time.perf_counter()

    def share(self) -> float | None:
        """The share of all cores that other processes used, 0 to 1; None if unknown."""
        busy = _machine_busy()
        if busy is None or self._busy is None:
            return None
        elapsed = (time.perf_counter() - self._clock) * (os.cpu_count() or 1)
        others = (busy - self._busy) - (cpu_seconds() - self._own)
        return min(1.0, max(0.0, others / max(elapsed, 1e-9)))


def _machine_busy() -> float | None:
    """Processor seconds since boot in which the machine was not idle."""
    try:
        fields = (_PROC / "stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> list[int]:
    """The process and its running descendants."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, waiting = [], [pid]
    while waiting:
        current = waiting.pop()
        found.append(current)
        waiting += children.get(current, [])
    return found


def _ticks(pid: int) -> int:
    """User and system time of a process and of the children it has reaped."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if pid == os.getpid():
            raise
        return 0  # it ended meanwhile
    return sum(int(field) for field in fields[11:15])


def _status(key: str) -> int | None:
    with contextlib.suppress(OSError):
        for line in (_PROC / "self/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    return None


def _peak_since_start() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
