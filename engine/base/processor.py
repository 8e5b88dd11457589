"""What the processor can do, as Linux names it."""

from pathlib import Path


def processor_flags() -> frozenset[str]:
    """The processor's feature flags as Linux names them; empty where they are unknown."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(flags.partition(":")[2].split())
