"""What a manifest must be to be believed."""

import copy
import json

import pytest
from numbered_shards import write_shards

from engine.base import files, schema
from engine.base.config import UserError
from engine.shards import manifest


@pytest.fixture
def shards(tmp_path):
    write_shards(tmp_path / "shards", {"train": 20, "validation": 7})
    return tmp_path / "shards"


def values_of(shards):
    return files.read_json(shards / manifest.MANIFEST)


def refusal(shards, content):
    """The one line that refuses a manifest of such content (JSON values or bytes)."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (shards / manifest.MANIFEST).write_bytes(data)
    with pytest.raises(UserError) as refused:
        manifest.read_manifest(shards)
    message = str(refused.value).removeprefix(str(shards))
    assert "\n" not in message and message.isprintable() and len(message) < 400
    return message


def test_a_round_trip_gives_the_same(shards):
    written = manifest.read_manifest(shards)
    manifest.write_manifest(shards, written)
    assert manifest.read_manifest(shards) == written
    assert written.bits == 16


def rename_classes(values):
    values["class_names"].reverse()


def swap_counts(values):
    counts = values["splits"]["train"]["class_counts"]
    counts["well"], counts["ill"] = counts["ill"], counts["well"]


def show_train_as_validation(values):
    values["splits"]["validation"] = copy.deepcopy(values["splits"]["train"])


def list_a_shard_twice(values):
    shards = values["splits"]["train"]["shards"]
    shards[1] = dict(shards[0])


def leave_the_directory(values):
    values["splits"]["train"]["shards"][0]["file"] = "../train-00000-of-00003.tfrecord"


def name_a_file_of_another_folder(values):
    values["splits"]["train"]["shards"][0]["file"] = "/etc/passwd"


def change_the_shape(values):
    values["image_size"] = [6, 8]


def change_a_total(values):
    values["splits"]["train"]["num_examples"] += 1


def change_a_count(values):
    values["splits"]["train"]["class_counts"]["well"] += 1


CONTRADICTIONS = [
    show_train_as_validation,
    list_a_shard_twice,
    leave_the_directory,
    name_a_file_of_another_folder,
    change_a_total,
    change_a_count,
]
# Without a wrong checksum, these are told when the records are opened (tests/test_record_scan.py).
PLAUSIBLE = [rename_classes, swap_counts, change_the_shape]


@pytest.mark.parametrize("edit", CONTRADICTIONS + PLAUSIBLE)
def test_an_edited_manifest_is_refused(shards, edit):
    values = values_of(shards)
    edit(values)
    assert "checksum" in refusal(shards, values)


@pytest.mark.parametrize("edit", CONTRADICTIONS)
def test_parts_that_contradict_each_other_are_refused_whatever_the_checksum(shards, edit):
    values = schema.unsealed(values_of(shards))
    edit(values)
    assert "splits." in refusal(shards, schema.sealed(values))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", ["a", "a"]),
        ("class_names", ["a", 1]),
        ("class_names", []),
        ("class_names", "ab"),
        ("image_size", [8]),
        ("image_size", [8, 0]),
        ("image_size", [8, 2**40]),
        ("image_size", [8.0, 6]),
        ("channels", 2),
        ("channels", True),
        ("encoding", "gzip"),
        ("keep_aspect_ratio", 1),
        ("bits", 10),
        ("group_by", None),
        ("seed", -1),
        ("source", {}),
        ("source", {"name": "x", "num_files": 1, "fingerprint": 3}),
        ("splits", {}),
        ("splits", {"holdout": {}}),
        ("splits", {"train": 3}),
        ("splits", {"train": {"num_examples": 0, "class_counts": {}, "shards": []}}),
        ("warnings", [3]),
        ("versions", {"numpy": 2}),
    ],
)
def test_wrong_types_and_ranges_are_refused(shards, key, value):
    values = {**schema.unsealed(values_of(shards)), key: value}
    assert key in refusal(shards, schema.sealed(values))


@pytest.mark.parametrize("name", ["bits", "class_names", "versions"])
def test_missing_and_unknown_keys_are_refused(shards, name):
    values = schema.unsealed(values_of(shards))
    value = values.pop(name)
    assert f"{name} is missing" in refusal(shards, schema.sealed(values))
    values.update({name: value, "color\n\x1b[31m": 1})
    assert "not a known key" in refusal(shards, schema.sealed(values))


@pytest.mark.parametrize(
    ("version", "age"), [(1, "an earlier"), (manifest.FORMAT_VERSION + 1, "a later")]
)
def test_other_format_versions_are_refused_with_the_cure(shards, version, age):
    message = refusal(shards, {**values_of(shards), "format_version": version})
    assert f"format version {version}, of {age} version" in message
    assert "--overwrite" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff\xd8\xff\xe0" * 5000,
        b"\x00\x1b]0;x\x07" * 5000,
        b"[" * 200_000,
        b'{"format_version": 2, "splits": 3}',
        b'{"format_version": 2, "seed": NaN}',
        b'{"format_version": 2, "seed": 1e999}',
        b'{"format_version": "2"}',
        b'{"format_version": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_manifest_is_refused_without_showing_it(shards, content):
    assert "damaged" in refusal(shards, content)


def test_counts_are_listed_in_the_order_of_the_classes(shards):
    values = values_of(shards)
    for split in values["splits"].values():
        split["class_counts"] = dict(sorted(split["class_counts"].items()))
    files.write_json(shards / manifest.MANIFEST, values)
    for split in manifest.read_manifest(shards).splits.values():
        assert list(split.class_counts) == ["well", "ill"]
