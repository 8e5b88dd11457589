"""`peers`: every installed peer's loader and the engine's, on the same images, size, batch and cores.

Each peer is written as its users are told to write it, and runs in a process of its own. Those that
read a packed format of their own pack it once, before they are timed. Where users both reopen a loader
each epoch and keep it open, both are shown: the engine keeps its datasets open.

What is decoded or read again each epoch has to be behind by a factor. What lies in memory, as the engine's
memory tier does, is as fast as memory allows too, so of those nothing is asked.
"""

import contextlib

from benchmarks import harness, peers
from benchmarks.context import Context
from benchmarks.harness import Side
from benchmarks.reports import Report
from benchmarks.suites import input as input_suite

ORDER = (peers.FILES, peers.PACKED, peers.MEMORY)
ASKED_OF_MEMORY = {peers.FILES: 8.0, peers.PACKED: 8.0, peers.MEMORY: None}
ASKED_OF_STREAMING = 2.0  # against other packed formats


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
        for name in sorted(peers.NAMES, key=lambda name: ORDER.index(peers.load(name).KIND)):
            sides += context.open_peer_ways(name, stack, report, group=peers.load(name).KIND)
        report.measurements += context.measure(sides)
    memory, stream, *others = report.measurements
    report.ratios += [
        harness.compare(memory, other, required=ASKED_OF_MEMORY[other.group]) for other in others
    ]
    report.ratios += [
        harness.compare(stream, other, required=ASKED_OF_STREAMING)
        for other in others
        if other.group == peers.PACKED
    ]
    return report
