"""`peers`: every installed peer's loader and the engine's, on the same images, size, batch and cores.

Each peer is written as its documentation recommends, and runs in its own process. Those with a packed
format pack the images once, before the timing. If a loader can be reopened each epoch or kept open, both
are measured: the engine keeps its datasets open.

The targets are factors over loaders that decode or read again each epoch. Loaders that hold images in
memory, as the engine's memory tier does, are limited by memory too, so there is no target for them.
"""

import contextlib

from benchmarks import harness, peers
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from benchmarks.suites import input as input_suite

ORDER = (peers.FILES, peers.PACKED, peers.MEMORY)
MEMORY_TARGETS = {peers.FILES: 8.0, peers.PACKED: 8.0, peers.MEMORY: None}
STREAMING_TARGET = 2.0  # relative to other packed formats


def run(context: Context) -> Report:
    """Measures the engine's tiers and each peer that is installed."""
    report = Report("peers", "images/s of loaders on the same images, size, batch and cores")
    with contextlib.ExitStack() as stack:
        sides = [
            Side(name, input_suite.engine_tier(context, tier, context.batch_size), "engine")
            for name, tier in (
                (input_suite.TIER, "memory"),
                (input_suite.STREAM, "streaming"),
            )
        ]
        # The table shows the rows of a group together.
        for name in sorted(peers.NAMES, key=lambda name: ORDER.index(peers.load(name).KIND)):
            sides += context.open_peer_ways(name, stack, report, group=peers.load(name).KIND)
        report.measurements += context.measure(sides)
    memory, stream, *others = report.measurements
    report.ratios += [
        harness.compare(memory, other, required=MEMORY_TARGETS[other.group]) for other in others
    ]
    report.ratios += [
        harness.compare(stream, other, required=STREAMING_TARGET)
        for other in others
        if other.group == peers.PACKED
    ]
    return report
