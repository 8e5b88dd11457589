"""Cores and memory of a process, on trees as Linux shows them to containers, batch jobs and shells."""

import math
import os

import pytest

from engine.base import machine
from engine.base.config import UserError

GIB = 1 << 30
V1 = "29 24 0:25 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory"
V1_CPU = "30 24 0:26 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct"
V2 = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
SHELL = "24 1 253:0 / / rw,relatime - ext4 /dev/vda rw"


def make(root, *, groups, mounts):
    """A root whose /proc says 20 of 24 GiB free, and these control groups and mounts."""
    proc = root / "proc/self"
    proc.mkdir(parents=True)
    (root / "proc/meminfo").write_text(
        f"MemTotal:       {24 * GIB // 1024} kB\nMemAvailable:   {20 * GIB // 1024} kB\n"
    )
    (proc / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    (proc / "mountinfo").write_text("".join(f"{line}\n" for line in (SHELL, *mounts)))
    return root


def fill(directory, **values):
    """Writes a file for each value; `__` in its name stands for a dot."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in values.items():
        (directory / name.replace("__", ".")).write_text(f"{value}\n")


def version_2(root, path="/job.slice/run.scope"):
    make(root, groups=[f"0::{path}"], mounts=[V2])
    return root / "sys/fs/cgroup"


def version_1(root, path="/job/run"):
    make(root, groups=[f"4:memory:{path}", f"2:cpu,cpuacct:{path}", "0::/"], mounts=[V1, V1_CPU])
    return root / "sys/fs/cgroup"


def test_without_control_groups_the_machines_memory_counts(tmp_path):
    make(tmp_path, groups=[], mounts=[])
    assert machine.available_memory_bytes(tmp_path) == 20 * GIB
    assert machine.total_memory_bytes(tmp_path) == 24 * GIB


@pytest.mark.parametrize("limited", ["job.slice/run.scope", "job.slice"])
def test_version_2_obeys_this_processs_group_and_all_above(tmp_path, limited):
    """The files of the root, which were all that was read before, hold no limit."""
    group = version_2(tmp_path)
    fill(group / "job.slice/run.scope", memory__max="max", memory__current=0)
    fill(group / limited, memory__max=560 << 20, memory__current=60 << 20)
    assert machine.available_memory_bytes(tmp_path) == 500 << 20


@pytest.mark.parametrize("limited", ["job/run", "job"])
def test_version_1_obeys_this_processs_group_and_all_above(tmp_path, limited):
    memory = version_1(tmp_path) / "memory"
    unlimited = 0x7FFFFFFFFFFFF000
    fill(memory, memory__limit_in_bytes=unlimited, memory__usage_in_bytes=3 * GIB)
    fill(memory / "job/run", memory__limit_in_bytes=unlimited, memory__usage_in_bytes=0)
    fill(memory / limited, memory__limit_in_bytes=560 << 20, memory__usage_in_bytes=60 << 20)
    assert machine.available_memory_bytes(tmp_path) == 500 << 20


def test_cached_pages_that_can_be_given_up_count_as_free(tmp_path):
    group = version_2(tmp_path)
    stat = f"anon {100 << 20}\nfile {350 << 20}\nactive_file {50 << 20}\ninactive_file {300 << 20}"
    fill(group / "job.slice", memory__max=500 << 20, memory__current=450 << 20, memory__stat=stat)
    (group / "job.slice/run.scope").mkdir()
    assert machine.available_memory_bytes(tmp_path) == 350 << 20


def test_version_1_counts_the_cache_of_the_groups_below_too(tmp_path):
    memory = version_1(tmp_path) / "memory"
    fill(
        memory / "job",
        memory__limit_in_bytes=500 << 20,
        memory__usage_in_bytes=450 << 20,
        memory__stat=f"inactive_file 0\ntotal_inactive_file {300 << 20}",
    )
    (memory / "job/run").mkdir()
    assert machine.available_memory_bytes(tmp_path) == 350 << 20


def test_a_group_over_its_limit_leaves_nothing(tmp_path):
    fill(version_2(tmp_path) / "job.slice", memory__max=100, memory__current=200)
    assert machine.available_memory_bytes(tmp_path) == 0


def test_what_is_slowed_down_above_counts_as_a_limit(tmp_path):
    fill(
        version_2(tmp_path) / "job.slice", memory__max="max", memory__high=300, memory__current=100
    )
    assert machine.available_memory_bytes(tmp_path) == 200


def test_a_container_that_sees_its_hosts_path_reads_the_group_that_is_mounted(tmp_path):
    mounted = V1.replace(" / /sys", " /docker/abc /sys")
    make(tmp_path, groups=["4:memory:/docker/abc/inner"], mounts=[mounted])
    memory = tmp_path / "sys/fs/cgroup/memory"
    fill(memory, memory__limit_in_bytes=700, memory__usage_in_bytes=100)
    fill(memory / "inner", memory__limit_in_bytes=900, memory__usage_in_bytes=50)
    assert machine.available_memory_bytes(tmp_path) == 600
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/../../elsewhere\n")
    assert machine.available_memory_bytes(tmp_path) == 600


def test_both_versions_side_by_side_are_read(tmp_path):
    unified = V2.replace("/sys/fs/cgroup", "/sys/fs/cgroup/a\\040place")
    make(tmp_path, groups=["4:memory:/one", "0::/two"], mounts=[V1, unified])
    root = tmp_path / "sys/fs/cgroup"
    fill(root / "memory/one", memory__limit_in_bytes=900, memory__usage_in_bytes=0)
    fill(root / "a place/two", memory__max=800, memory__current=0)
    assert machine.available_memory_bytes(tmp_path) == 800
    fill(root / "memory/one", memory__limit_in_bytes=700, memory__usage_in_bytes=0)
    assert machine.available_memory_bytes(tmp_path) == 700


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_cores_are_those_of_the_affinity(tmp_path, eight_cores):
    make(tmp_path, groups=[], mounts=[])
    assert machine.usable_cores(tmp_path) == 8


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("5000 100000", 1), ("x", 8)],
)
def test_version_2_limits_cores_by_the_quota_of_any_group_above(
    tmp_path, eight_cores, quota, cores
):
    group = version_2(tmp_path)
    fill(group / "job.slice", cpu__max=quota)
    fill(group / "job.slice/run.scope", cpu__max="max 100000")
    assert machine.usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("quota", "cores"), [(-1, 8), (300_000, 3), (50_000, 1), (10**9, 8)])
def test_version_1_limits_cores_by_the_quota(tmp_path, eight_cores, quota, cores):
    fill(
        version_1(tmp_path) / "cpu,cpuacct/job", cpu__cfs_quota_us=quota, cpu__cfs_period_us=100_000
    )
    (tmp_path / "sys/fs/cgroup/cpu,cpuacct/job/run").mkdir()
    assert machine.usable_cores(tmp_path) == cores


def test_more_processes_than_the_host_bears_are_refused_in_one_line(monkeypatch):
    for cores, most in ((1, 2), (2, 2), (16, 16)):
        monkeypatch.setattr(machine, "usable_cores", lambda cores=cores: cores)
        machine.check_processes("--num-workers", most)
        with pytest.raises(UserError, match=rf"--num-workers {most + 1}: .*give at most {most}$"):
            machine.check_processes("--num-workers", most + 1)


def test_this_machine_answers():
    assert 1 <= machine.usable_cores() <= (os.cpu_count() or math.inf)
    assert 0 < machine.available_memory_bytes() <= machine.total_memory_bytes()
