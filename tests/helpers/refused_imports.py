"""Programs that run where some packages cannot be imported, as if they were not installed."""

from collections.abc import Sequence

PROJECT = ("engine", "tuning", "benchmarks")
_REFUSAL = """
import sys
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ImportError(f"{{name}} is imported")
sys.meta_path.insert(0, Refused())
"""


def without(packages: Sequence[str], program: str) -> str:
    """The text of a program in which imports of the packages fail."""
    return _REFUSAL.format(packages=tuple(packages)) + program
