"""`search`: the same search of small models with one worker and with two, on one host.

Each run is the command that a user would type, in its own directory. The trials are the same: they are
drawn at random with one seed, and none is pruned. With small models much of a trial is start-up
(importing TensorFlow, tracing), which two workers do in parallel.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import harness
from benchmarks.context import Context
from benchmarks.harness import Measurement, Sample
from benchmarks.peer_process import ROOT
from benchmarks.reports import Report
from engine.shards import dataset_checks

TRIALS, EPOCHS = 8, 2
ONE, TWO = "1 worker", "2 workers"
PAIRS, QUICK_PAIRS = 3, 1
_SPACE = ("--depth", "2:4", "--width", "4,8", "--dropout", "0:0.5", "--learning-rate", "1e-4:1e-2")
_TARGET = 1 / 0.65


def run(context: Context) -> Report:
    """Searches alternately with one worker and with two."""
    report = Report("search", f"images/s over all {TRIALS} trials of a search, start-up included")
    pairs = QUICK_PAIRS if context.config.quick else PAIRS
    samples: dict[int, list[Sample]] = {1: [], 2: []}
    for pair in range(pairs):
        for workers, found in samples.items():
            context.tell(f"searching with {workers} at a time, {pair + 1}/{pairs}")
            found.append(_search(context, workers))
    one, two = (
        Measurement(name, "random search of small models", found[0].seconds, tuple(found))
        for name, found in ((ONE, samples[1]), (TWO, samples[2]))
    )
    report.measurements += [one, two]
    report.ratios.append(harness.compare(two, one, required=_TARGET))
    seconds = [sum(sample.seconds for sample in each) / pairs for each in samples.values()]
    report.figures["seconds of a search, 1 worker"] = seconds[0]
    report.figures["seconds of a search, 2 workers"] = seconds[1]
    report.figures["time of 2 workers, share of that of 1"] = seconds[1] / seconds[0]
    return report


def arguments(shards: str, workdir: str, *, workers: int, batch_size: int) -> list[str]:
    """The arguments of the search command, after `python`."""
    return [
        *("-m", "tuning.search", shards, "--workdir", workdir, "--tuner", "random"),
        *("--max-trials", str(TRIALS), "--epochs", str(EPOCHS), "--pruning", "none"),
        *("--global-batch-size", str(batch_size), "--num-workers", str(workers), *_SPACE),
    ]


def _search(context: Context, workers: int) -> Sample:
    workload = context.workload
    steps = dataset_checks.steps_per_epoch(workload.manifest, "train", context.batch_size)
    with tempfile.TemporaryDirectory(dir=workload.scratch) as directory:
        words = arguments(
            str(workload.shards.resolve()),
            str(Path(directory, "search").resolve()),
            workers=workers,
            batch_size=context.batch_size,
        )
        started = time.perf_counter()
        with open(Path(directory, "said"), "w+b") as said:
            child = subprocess.Popen(
                [sys.executable, *words],
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            _, status, usage = os.wait4(child.pid, 0)
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
        if status:
            raise RuntimeError(f"the search ended with {os.waitstatus_to_exitcode(status)}: {last}")
        return Sample(
            images=TRIALS * EPOCHS * steps * context.batch_size,
            seconds=time.perf_counter() - started,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_memory_bytes=usage.ru_maxrss * 1024,
        )
