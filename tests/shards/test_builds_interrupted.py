"""Builds that crash, are killed or are damaged end with the bytes of an undisturbed one."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from tiny_builds import ROOT, build, contents, save

from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.shards import build_finish, build_journal, builder, tfrecords


class CrashError(BaseException):
    """Stands in for a kill: nothing catches it."""


@pytest.mark.parametrize("point", ["shard 0", "shard 3", "journal", "metadata", "tfds", "manifest"])
def test_a_build_that_crashed_ends_with_the_same_bytes(
    source, undisturbed, tmp_path, monkeypatch, point
):
    directory = tmp_path / "shards"
    with monkeypatch.context() as patch:
        crash_at(patch, point)
        with pytest.raises(CrashError):
            build(source, directory)
    with pytest.raises(UserError, match="did not finish"):
        tfrecords.read_manifest(directory)
    result = build(source, directory)
    assert contents(directory) == contents(undisturbed)
    if point != "shard 0":
        assert result.num_decoded < 122


def crash_at(patch: pytest.MonkeyPatch, point: str) -> None:
    """Raises where `point` says."""

    def crash(*args, **options):
        raise CrashError

    if point.startswith("shard"):
        write, left = tfrecords.ShardWriter.write, 10 * int(point[-1]) + 5

        def write_some(self, framed):
            nonlocal left
            left -= 1
            write(self, framed) if left else crash()

        patch.setattr(tfrecords.ShardWriter, "write", write_some)
    elif point == "journal":
        note = build_journal.Journal.note

        def note_twice(self, record):
            if len(self.records) == 2:
                with open(self._path, "ab") as file:
                    file.write(b'{"info": {"file": "tra')
                crash()
            note(self, record)

        patch.setattr(build_journal.Journal, "note", note_twice)
    else:
        function = {
            "metadata": (build_finish, "_write_together"),
            "tfds": (build_finish, "_write_bytes"),
            "manifest": (tfrecords, "write_manifest"),
        }[point]
        patch.setattr(*function, crash)


def test_leftovers_of_a_kill_are_removed(source, undisturbed, tmp_path, monkeypatch):
    directory = tmp_path / "shards"
    with monkeypatch.context() as patch:
        crash_at(patch, "shard 3")
        with pytest.raises(CrashError):
            build(source, directory)
    (directory / "train-00003-of-00008.partial.tfrecord").write_bytes(b"half")
    (directory / "manifest.partial.json").write_bytes(b"{")
    build(source, directory)
    assert contents(directory) == contents(undisturbed)


@pytest.mark.parametrize("damage", ["deleted", "cut"])
def test_a_finished_build_rebuilds_shards_of_the_wrong_size(source, undisturbed, tmp_path, damage):
    directory = tmp_path / "shards"
    shutil.copytree(undisturbed, directory)
    shard = directory / tfrecords.read_manifest(directory).splits["train"].shards[1].file
    shard.unlink() if damage == "deleted" else shard.write_bytes(shard.read_bytes()[:-9])
    result = build(source, directory)
    assert 0 < result.num_decoded < 20
    assert contents(directory) == contents(undisturbed)


def test_verify_names_a_damaged_shard_and_repair_rebuilds_it(source, undisturbed, tmp_path):
    directory = tmp_path / "shards"
    shutil.copytree(undisturbed, directory)
    assert build(source, directory, verify=True).manifest.num_examples == 120
    shard = directory / tfrecords.read_manifest(directory).splits["train"].shards[1].file
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(UserError, match=rf"{shard.name}.*--repair"):
        build(source, directory, verify=True)
    assert 0 < build(source, directory, repair=True).num_decoded < 20
    assert contents(directory) == contents(undisturbed)


def test_verify_needs_neither_the_images_nor_the_flags(undisturbed, tmp_path):
    result = builder.run(BuildConfig(verify=True), tmp_path / "gone", undisturbed)
    assert result.manifest.num_examples == 120
    assert "--image-size 16x20, now 224x224" in result.notes[0]


def test_a_build_can_verify_itself(source, tmp_path):
    assert build(source, tmp_path / "shards", verify=True).num_decoded == 122


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0.0, 0.5])
def test_kill_9_and_again_gives_the_same_bytes(tmp_path, moment):
    """Kills a real build, workers and all, at its first shard and at its middle."""
    images = tmp_path / "images"
    for index in range(300):
        save(images / "a" / f"IM-{index}-1.jpeg", index, size=(300, 300))
        save(images / "b" / f"person{index}_virus_1.jpeg", 999 + index, size=(300, 300))
    flags = ["--image-size", "64", "--shard-size-mb", "0.1", "--workers", "2"]
    command = [sys.executable, "-m", "engine.build_tfrecords", str(images)]
    subprocess.run([*command, str(tmp_path / "whole"), *flags], cwd=ROOT, check=True)
    total = len(list((tmp_path / "whole").glob("*.tfrecord")))
    directory = tmp_path / "killed"
    process = subprocess.Popen([*command, str(directory), *flags], cwd=ROOT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        shards = list(directory.glob("*-of-*[0-9].tfrecord")) if directory.exists() else []
        if len(shards) > moment * total:
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    subprocess.run([*command, str(directory), *flags], cwd=ROOT, check=True)
    assert contents(directory) == contents(tmp_path / "whole")
