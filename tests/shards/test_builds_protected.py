"""What protects a finished or unfinished build: one writer at a time, and nothing believed unchecked."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_builds import ROOT, SIZE, build, contents, save

from engine import build_tfrecords
from engine.base import files, locks, schema
from engine.base.config import UserError
from engine.shards import tfrecords


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """15 patients per class, two images each, and one file that is no image. Read only."""
    root = tmp_path_factory.mktemp("source") / "images"
    for index in range(30):
        save(root / "NORMAL" / f"IM-{index // 2:04d}-{index}.jpeg", index)
        save(root / "PNEUMONIA" / f"person{index // 2}_virus_{index}.jpeg", 1000 + index)
    (root / "NORMAL" / "IM-9000-1.jpeg").write_text("not an image")
    return root


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory) -> Path:
    """The shards of `images`. Read only."""
    directory = tmp_path_factory.mktemp("finished") / "shards"
    build(images, directory)
    return directory


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """The shards of `images`, to be changed."""
    shutil.copytree(finished, tmp_path / "shards")
    return tmp_path / "shards"


# ---------------------------------------------------------------------------- one build at a time

PAUSED = """
import sys
from engine import build_tfrecords
from engine.shards import tfrecords
write = tfrecords.ShardWriter.write
def pause_once(self, framed):
    tfrecords.ShardWriter.write = write
    print("writing", flush=True)
    sys.stdin.readline()
    write(self, framed)
tfrecords.ShardWriter.write = pause_once
sys.exit(build_tfrecords.main(sys.argv[1:]))
"""
COMMAND_FLAGS = ["--image-size", "16x20", "--validation-fraction", "0.2", "--test-fraction", "0.2"]
COMMAND_FLAGS += ["--shard-size-mb", "0.004", "--workers", "1"]


def command(images, directory, *flags):
    return [str(images), str(directory), *COMMAND_FLAGS, *flags]


@pytest.fixture
def begun(images, tmp_path):
    """A real build in another process, held up at its first record; its directory."""
    process = subprocess.Popen(
        [sys.executable, "-c", PAUSED, *command(images, tmp_path / "shards", "--overwrite")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    yield process, tmp_path / "shards"
    process.kill()
    process.wait()


@pytest.mark.parametrize("flag", ["--overwrite", "--repair", "--verify"])
def test_a_second_build_is_refused_and_the_first_is_right(images, finished, begun, capsys, flag):
    process, directory = begun
    assert build_tfrecords.main(command(images, directory, flag)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(directory) in error and f"building by process {process.pid}" in error
    process.communicate("\n")
    assert process.returncode == 0
    assert contents(directory) == contents(finished)
    assert build_tfrecords.main(command(images, directory, "--verify")) == 0


def test_a_build_that_was_killed_is_taken_over(images, finished, begun):
    process, directory = begun
    process.kill()
    process.wait()
    assert (directory / locks.LOCK_NAME).exists()
    assert build_tfrecords.main(command(images, directory)) == 0
    assert contents(directory) == contents(finished)


def test_a_build_that_is_refused_leaves_no_new_directory(images, tmp_path):
    with pytest.raises(UserError, match="group"):
        build(images, tmp_path / "shards", group_by="(nothing like it)")
    assert not (tmp_path / "shards").exists()


# ---------------------------------------------------------------------------- what is believed


def of_another_build(shard: Path) -> bytes:
    """As many records, of the same sizes, with other images."""
    import tensorflow as tf
    from numbered_shards import read_records

    size = SIZE[0] * SIZE[1]
    framed = []
    for record in read_records(shard):
        (image,) = tf.train.Example.FromString(record).features.feature["image"].bytes_list.value
        assert len(image) == size
        framed.append(tfrecords.frame_record(record.replace(image, bytes(size))))
    return b"".join(framed)


def test_a_repeated_build_rebuilds_shards_of_another_build(images, finished, copied, capsys):
    shard = copied / tfrecords.read_manifest(copied).splits["train"].shards[1].file
    changed = of_another_build(shard)
    assert len(changed) == shard.stat().st_size and changed != shard.read_bytes()
    shard.write_bytes(changed)
    assert 0 < build(images, copied).num_decoded < 20
    assert f"{shard.name}: its records are not those" in capsys.readouterr().err
    assert contents(copied) == contents(finished)


def swap_classes(directory: Path) -> None:
    values = files.read_json(directory / tfrecords.MANIFEST)
    values["class_names"].reverse()
    files.write_json(directory / tfrecords.MANIFEST, values)


def forge_a_checksum(directory: Path) -> None:
    values = schema.unsealed(files.read_json(directory / tfrecords.MANIFEST))
    values["splits"]["train"]["shards"][0]["sha256"] = "0" * 64
    files.write_json(directory / tfrecords.MANIFEST, schema.sealed(values))


def swap_tfds_labels(directory: Path) -> None:
    path = directory / "label.labels.txt"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))


def replace(name: str, content: bytes):
    def change(directory: Path) -> None:
        (directory / name).write_bytes(content)

    change.__name__ = name
    return change


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (swap_classes, tfrecords.MANIFEST),
        (forge_a_checksum, tfrecords.MANIFEST),
        (replace(tfrecords.MANIFEST, b"\xff" * 9999), tfrecords.MANIFEST),
        (swap_tfds_labels, "label.labels.txt"),
        (replace("features.json", b"{}"), "features.json"),
        (replace("dataset_info.json", b"\xff"), "dataset_info.json"),
        (replace(tfrecords.REJECTED, b"path,reason\n"), tfrecords.REJECTED),
    ],
)
@pytest.mark.parametrize("flags", [{}, {"repair": True}, {"verify": True, "repair": True}])
def test_what_verify_refuses_a_repair_and_a_repeated_build_write_again(
    images, finished, copied, capsys, change, name, flags
):
    change(copied)
    with pytest.raises(UserError):
        build(images, copied, verify=True)
    assert build(images, copied, **flags).num_decoded == 0
    assert name in capsys.readouterr().err
    assert contents(copied) == contents(finished)
    build(images, copied, verify=True)


def test_verify_and_repair_together_rebuild(images, finished, copied):
    shard = copied / tfrecords.read_manifest(copied).splits["train"].shards[1].file
    shard.write_bytes(of_another_build(shard))
    assert build(images, copied, verify=True, repair=True).num_decoded > 0
    assert contents(copied) == contents(finished)


def miscount(line: bytes) -> bytes:
    values = json.loads(line)
    values["class_counts"]["NORMAL"] = values["class_counts"].get("NORMAL", 0) + 1
    return json.dumps(values).encode()


def sealed_line(change):
    """A line whose checksum is right and whose values are not."""

    def changed(line: bytes) -> bytes:
        values = schema.unsealed(json.loads(line))
        change(values)
        return json.dumps(schema.sealed(values)).encode()

    return changed


@pytest.mark.parametrize(
    "garble",
    [
        lambda line: b"null",
        lambda line: b"[]",
        lambda line: b"{}",
        lambda line: b"\xff\x00",
        lambda line: b"[" * 100_000,
        lambda line: line[:40],
        lambda line: line.replace(b'"num_examples": ', b'"num_examples": 1'),
        miscount,
        sealed_line(lambda values: values.pop("info")),
        sealed_line(lambda values: values["info"].update(file="../train-00001-of-00004.tfrecord")),
        sealed_line(lambda values: values["info"].update(num_examples="3")),
        sealed_line(lambda values: values["class_counts"].update(NORMAL=-1)),
        sealed_line(lambda values: values["class_counts"].update(OTHER=3)),
        sealed_line(lambda values: values.update(rejected=[["x"]])),
    ],
)
@pytest.mark.parametrize("is_finished", [True, False])
def test_a_wrong_line_of_the_journal_costs_its_shard_alone(
    images, finished, copied, capsys, garble, is_finished
):
    journal = copied / tfrecords.BUILD_STATE
    lines = journal.read_bytes().splitlines()
    lines[2] = garble(lines[2])
    journal.write_bytes(b"".join(line + b"\n" for line in lines))
    if not is_finished:
        (copied / tfrecords.MANIFEST).unlink()
    assert 0 < build(images, copied).num_decoded < 20
    said = [line for line in capsys.readouterr().err.splitlines() if "are ignored" in line]
    assert len(said) == 1 and "line 3" in said[0] and len(said[0]) < 400
    assert contents(copied) == contents(finished)


@pytest.mark.parametrize("first", [b"", b"null", b"{}", b'{"format_version": 2}', b"\xff"])
def test_a_journal_without_its_first_line_is_refused(images, copied, first):
    journal = copied / tfrecords.BUILD_STATE
    journal.write_bytes(first + b"\n" + b"".join(journal.read_bytes().splitlines(True)[1:]))
    with pytest.raises(UserError, match="without a readable journal"):
        build(images, copied)


def test_a_build_of_an_earlier_version_is_refused_with_the_cure(images, finished, copied):
    journal = copied / tfrecords.BUILD_STATE
    current = f'"format_version": {tfrecords.FORMAT_VERSION}'.encode()
    journal.write_bytes(journal.read_bytes().replace(current, b'"format_version": 1'))
    with pytest.raises(UserError, match=r"version 1, of an earlier version.*--overwrite"):
        build(images, copied)
    build(images, copied, overwrite=True)
    assert contents(copied) == contents(finished)


@pytest.mark.parametrize(
    "name",
    [
        "build.partial.jsonl",
        "manifest.partial.json",
        "features.partial.json",
        "shard",
        tfrecords.BUILD_STATE,
    ],
)
def test_planted_links_are_not_followed(images, finished, copied, tmp_path, name):
    shard = copied / tfrecords.read_manifest(copied).splits["train"].shards[1].file
    if name == "shard":
        name = f"{shard.stem}.partial.tfrecord"
    target = tmp_path / "elsewhere"
    if (copied / name).exists():
        (copied / name).rename(target)
    else:
        target.write_text("kept")
    kept = target.read_bytes()
    (copied / name).symlink_to(target)
    (copied / tfrecords.MANIFEST).unlink()
    shard.unlink()
    build(images, copied)
    assert target.read_bytes() == kept
    assert not any(path.is_symlink() for path in copied.iterdir())
    assert contents(copied) == contents(finished)
