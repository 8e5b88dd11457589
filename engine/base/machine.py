"""What this process may use of its machine: cores and memory, as affinity and control groups leave them.

A container or a batch job is limited in its own control group or in any above it; the files of the root
say nothing of that. Both versions are followed, also side by side: `/proc/self/cgroup` names the groups,
`/proc/self/mountinfo` where they can be read (man 7 cgroups). Every function takes the root of the file
system, so that tests can bring their own.
"""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from engine.base.config import UserError

_ROOT = Path("/")
_VERSION_2 = ""  # what stands for the list of controllers in /proc/self/cgroup


def usable_cores(root: Path = _ROOT) -> int:
    """Cores this process may use: those of its affinity, or its quota of processor time, rounded up."""
    quotas = [math.ceil(quota) for quota in _core_quotas(root)]
    return max(1, min([len(os.sched_getaffinity(0)), *quotas]))


def check_processes(flag: str, count: int) -> None:
    """Raises `UserError` where a flag asks for more TensorFlow processes than this host supports.

    Two are always allowed; beyond, one for each core that may be used.
    """
    most = max(2, usable_cores())
    if count > most:
        raise UserError(
            f"{flag} {count}: each is a process with a TensorFlow of its own, and this one may use "
            f"{usable_cores()} cores; give at most {most}"
        )


def available_memory_bytes(root: Path = _ROOT) -> int:
    """Memory this process may still take: the machine's, or what a control group leaves if that is less.

    Cached pages of files that were not used twice (`inactive_file`) count as free: the kernel gives
    them up first.
    """
    machine = _meminfo("MemAvailable", root) or total_memory_bytes(root) // 2
    return max(0, min([machine, *_group_memory(root)]))


def total_memory_bytes(root: Path = _ROOT) -> int:
    """The machine's memory."""
    return _meminfo("MemTotal", root) or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _meminfo(key: str, root: Path) -> int | None:
    found = re.search(rf"^{key}: +(\d+) kB$", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _core_quotas(root: Path) -> Iterator[float]:
    for group in _groups("cpu", root):
        quota, period = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
        if quota is not None and period and quota > 0:  # -1 is none
            yield quota / period
    for group in _groups(_VERSION_2, root):
        found = re.fullmatch(r"(\d+) ([1-9]\d*)", _text(group / "cpu.max").strip())
        if found:
            yield int(found[1]) / int(found[2])


def _group_memory(root: Path) -> Iterator[int]:
    """What each control group leaves free; below 0 where it is over its limit already."""
    for controller, limits, usage, cached in (
        ("memory", ("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
        (_VERSION_2, ("memory.max", "memory.high"), "memory.current", "inactive_file"),
    ):
        for group in _groups(controller, root):
            given = [limit for name in limits if (limit := _number(group / name)) is not None]
            used = _number(group / usage)
            if not given or used is None:
                continue
            stat = re.search(rf"^{cached} (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
            yield min(given) - max(0, used - (int(stat[1]) if stat else 0))


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The directories of this process's control group of a controller and of all above it."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller not in controllers.split(","):
            continue
        for mounted, directory in _mounts(controller, root):
            yield from _upwards(PurePosixPath(path), mounted, directory)


def _mounts(controller: str, root: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Where a hierarchy can be read: the group that is mounted, and the directory it is mounted on."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        is_it = kind == "cgroup2" if controller == _VERSION_2 else kind == "cgroup"
        if is_it and (controller == _VERSION_2 or controller in options.split(",")):
            fields = [_unescaped(field) for field in mount.split(" ")]
            yield PurePosixPath(fields[3]), root / fields[4].lstrip("/")


def _upwards(path: PurePosixPath, mounted: PurePosixPath, directory: Path) -> Iterator[Path]:
    # A container may see the path on its host, and its own group alone mounted as the root.
    inside = path.is_relative_to(mounted) and ".." not in path.parts
    below = path.relative_to(mounted) if inside else PurePosixPath()
    for group in (below, *below.parents):
        if (directory / group).is_dir():
            yield directory / group


def _unescaped(text: str) -> str:
    """A field of mountinfo, where a space is written as \\040."""
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), text)


def _number(path: Path) -> int | None:
    """What a file of one number holds; None without one: absent, or `max`."""
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
