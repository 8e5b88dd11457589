"""The same training on 1, 2 and 4 logical devices, and by two workers: images/s and final loss.

Each is the command that a user would type. Devices and workers of one machine share its processor, so
they cannot train faster than one device: the figures show what dividing a batch costs, and that losses
agree within rounding. Sums over parts of a batch are added in another order, a difference of 1e-7 that
training amplifies (to 1e-5 over the first 40 steps; to 1e-2 without a warm-up of the learning rate).
"""

import csv
import dataclasses
import os
import resource
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Measurement, Sample
from benchmarks.peer_process import ROOT

GROUP = "training, divided"
EPOCHS, QUICK_EPOCHS = 4, 2
_FLAGS = ("--precision", "float32")


class DivisionError(Exception):
    """A training failed; the message names it and holds its last line."""


@dataclasses.dataclass(frozen=True)
class Division:
    """A way to divide a training.

    Attributes:
        name: as in tables.
        devices: logical devices per process.
        workers: number of processes.
    """

    name: str
    devices: int = 1
    workers: int = 1

    def command(self, shards: str, workdir: str, *, epochs: int, batch_size: int) -> list[str]:
        """The arguments of the command, after `python`."""
        train = [
            *(shards, "--workdir", workdir, "--epochs", str(epochs)),
            *("--global-batch-size", str(batch_size), *_FLAGS),
        ]
        if self.workers > 1:
            return ["-m", "engine.launch", "--num-workers", str(self.workers), "--", *train]
        divided = ["--num-logical-devices", str(self.devices), "--strategy", "mirrored"]
        return ["-m", "engine.train", *train, *(divided if self.devices > 1 else [])]

    @property
    def parts(self) -> int:
        """The number of replicas that share a batch."""
        return self.devices * self.workers


DIVISIONS = (
    Division("1 device"),
    Division("2 logical devices", devices=2),
    Division("4 logical devices", devices=4),
    Division("2 workers", workers=2),
)


@dataclasses.dataclass(frozen=True)
class Divided:
    """The result of a divided training.

    Attributes:
        shown: the command as a user would type it.
        losses: the mean training loss of each epoch, to 6 digits.
    """

    measurement: Measurement
    shown: str
    losses: tuple[float, ...]

    def distance(self, other: "Divided") -> float:
        """The largest relative difference of the losses."""
        pairs = zip(self.losses, other.losses, strict=True)
        return max(abs(own - others) / abs(others) for own, others in pairs)


def train(division: Division, shards: Path, *, epochs: int, batch_size: int) -> Divided:
    """Trains once; each epoch after the first, which includes compilation, is a sample.

    Processor time is that of all processes of the command, memory that of the largest one.

    Raises:
        DivisionError: the command failed.
    """
    with tempfile.TemporaryDirectory() as directory:
        run, errors = Path(directory, "run"), Path(directory, "errors")
        words = division.command(
            str(shards.resolve()), str(run), epochs=epochs, batch_size=batch_size
        )
        with open(errors, "wb") as stream:
            child = subprocess.Popen(
                [sys.executable, *words],
                stdout=subprocess.DEVNULL,
                stderr=stream,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            _, status, usage = os.wait4(child.pid, 0)
        if status:
            last = (errors.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise DivisionError(f"{division.name} ended with {_code(status)}: {last}")
        with open(run / "history.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    shown = division.command("SHARDS", "RUN", epochs=epochs, batch_size=batch_size)
    return Divided(
        Measurement(division.name, GROUP, float(rows[0]["train_seconds"]), _samples(rows, usage)),
        shlex.join(["python", *shown]),
        tuple(float(row["loss"]) for row in rows),
    )


def _samples(rows: Sequence[dict[str, str]], usage: resource.struct_rusage) -> tuple[Sample, ...]:
    return tuple(
        Sample(
            images=round(float(row["images_per_second"]) * float(row["train_seconds"])),
            seconds=float(row["train_seconds"]),
            cpu_seconds=(usage.ru_utime + usage.ru_stime) / len(rows),
            peak_memory_bytes=usage.ru_maxrss * 1024,
        )
        for row in rows[1:]
    )


def _code(status: int) -> int:
    return os.waitstatus_to_exitcode(status)
