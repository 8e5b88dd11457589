"""`peers`: every installed peer's loader and the engine's, on the same images, size, batch and cores.

Each peer is written as its users are told to write it, and runs in a process of its own. Those that
read a packed format of their own pack it once, before they are timed.
"""

import contextlib

from benchmarks import harness, peers
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from benchmarks.suites import input as input_suite

FILES, PACKED = "decoding files each epoch", "packed or cached formats"


def run(context: Context) -> Report:
    """Measures the engine's tiers against each peer that is installed."""
    report = Report("peers", "images/s of loaders on the same images, size, batch and cores")
    with contextlib.ExitStack() as stack:
        sides = [
            Side(name, input_suite.engine_tier(context, tier, context.batch_size), "engine")
            for name, tier in (
                (input_suite.TIER, "memory"),
                (input_suite.STREAM, "streaming"),
            )
        ]
        # Rows of a group stand together in the table.
        for name in sorted(peers.NAMES, key=lambda name: peers.load(name).PACKED):
            group = PACKED if peers.load(name).PACKED else FILES
            side = context.open_peer(name, stack, report, group=group)
            sides += [] if side is None else [side]
        report.measurements += context.measure(sides)
    memory, stream, *others = report.measurements
    in_memory = peers.load("image_dataset_cached").TITLE
    report.ratios += [
        harness.compare(memory, other, required=1.0 if other.name == in_memory else 8.0)
        for other in others
    ]
    report.ratios += [
        harness.compare(stream, other, required=2.0)
        for other in others
        if other.group == PACKED and other.name != in_memory
    ]
    return report
