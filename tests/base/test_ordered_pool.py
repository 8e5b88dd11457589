"""Results come in order from workers of any kind, and a script needs no guard for them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.base import ordered_pool
from engine.base.ordered_pool import OrderedPool, batches

ROOT = Path(__file__).resolve().parents[2]
# No `if __name__ == "__main__"`: every worker would run the script again.
SCRIPT = """
from engine.base.ordered_pool import OrderedPool
with OrderedPool(workers=2, processes=True, preload="engine.base.ordered_pool") as pool:
    print("started", list(pool.in_order(divmod, range(6), 4)))
import __main__
print(__main__.__file__)
"""


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_tasks(workers):
    with OrderedPool(workers=workers, processes=False, preload=__name__) as pool:
        assert list(pool.in_order(pow, range(50), 2)) == [number**2 for number in range(50)]


def test_an_error_of_a_task_is_raised_where_its_result_is_due():
    with OrderedPool(workers=2, processes=False, preload=__name__) as pool:
        results = pool.in_order(divmod, [4, 2, "no number", 3], 2)
        assert [next(results), next(results)] == [(2, 0), (1, 0)]
        with pytest.raises(TypeError):
            next(results)


def test_processes_do_not_run_the_script_that_starts_them(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    pairs = [divmod(number, 4) for number in range(6)]
    assert done.stdout.splitlines() == [f"started {pairs}", str(script)]


def test_batches_hold_everything_once_in_order():
    assert list(batches(range(7), 3)) == [(0, 1, 2), (3, 4, 5), (6,)]
    assert list(batches([], 3)) == []


def test_processes_for_small_files_or_many_workers():
    assert ordered_pool.prefers_processes([8_000, 9_000], workers=2)
    assert ordered_pool.prefers_processes([], workers=2)
    assert not ordered_pool.prefers_processes([200_000, 300_000], workers=2)
    assert ordered_pool.prefers_processes([200_000, 300_000], workers=16)
