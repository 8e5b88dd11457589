"""Builds with images held out: their bytes, how they resume, and what tells two of them apart."""

import csv
import json
import re

import pytest
from tiny_builds import build, contents, save

import engine
from engine import build_tfrecords
from engine.base.config import UserError
from engine.shards import tfrecords

PATTERN = {"hold_out": "_virus_|IM-002", "test_fraction": None}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Patients 10 to 29 of two images per class; those of 20 to 29 belong to another series."""
    root = tmp_path_factory.mktemp("series") / "images"
    for patient in range(10, 30):
        kind = "virus" if patient >= 20 else "bacteria"
        for image in range(2):
            save(root / "NORMAL" / f"IM-{patient:04d}-{image}.jpeg", 2 * patient + image)
            name = f"person{patient}_{kind}_{image}.jpeg"
            save(root / "PNEUMONIA" / name, 1000 + 2 * patient + image)
    save(root / "PNEUMONIA" / "person20_bacteria_9.jpeg", 5000)
    return root


@pytest.fixture(scope="module")
def held(images, tmp_path_factory):
    directory = tmp_path_factory.mktemp("held") / "shards"
    build(images, directory, **PATTERN)
    return directory


def test_the_manifest_holds_the_recipe_and_rejected_csv_the_removed(held):
    manifest = tfrecords.read_manifest(held)
    assert manifest.splits["test"].class_counts == {"NORMAL": 20, "PNEUMONIA": 20}
    assert manifest.arguments["hold_out"] == PATTERN["hold_out"]
    recipe = manifest.audit["hold_out"]
    assert (recipe["pattern"], recipe["images"], recipe["removed"]) == (PATTERN["hold_out"], 40, 1)
    with open(held / tfrecords.REJECTED, newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "PNEUMONIA/person20_bacteria_9.jpeg" and "--hold-out" in row["reason"]
    assert manifest.rejected == 1
    assert (
        "held out as test: 40 images; 1 of their patients or copies left out"
        in build_tfrecords.audit_lines(manifest)
    )


def test_the_same_bytes_for_any_number_of_workers_and_after_damage(images, held, tmp_path):
    directory = tmp_path / "shards"
    build(images, directory, **PATTERN, workers=2)
    assert contents(directory) == contents(held)
    shard = next(directory.glob("test-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="--repair"):
        build(images, directory, **PATTERN, verify=True)
    assert build(images, directory, **PATTERN, repair=True).num_decoded > 0
    assert contents(directory) == contents(held)
    assert build(images, directory, **PATTERN).num_decoded == 0


def test_other_rules_are_another_build(images, held):
    for other in (
        {**PATTERN, "hold_out": "_virus_|IM-0029"},
        {},
        {**PATTERN, "hold_out_split": "test"},
    ):
        with pytest.raises(UserError, match="--hold-out"):
            build(images, held, **other)
        (note,) = build(images, held, **other, verify=True).notes
        assert "--hold-out" in note
    assert not build(images, held, **PATTERN, verify=True).notes


def test_external_is_a_split_like_others(images, tmp_path):
    manifest = engine.build(
        images,
        tmp_path / "shards",
        image_size=16,
        workers=1,
        hold_out="_virus_|IM-002",
        hold_out_split="external",
    )
    assert list(manifest.splits) == ["train", "validation", "test", "external"]
    assert tfrecords.read_manifest(tmp_path / "shards") == manifest
    info = json.loads((tmp_path / "shards" / "dataset_info.json").read_text())
    assert [split["name"] for split in info["splits"]] == list(manifest.splits)


def test_what_metadata_selects_decides_not_where_it_lies(images, tmp_path):
    def write(folder: str, first: int) -> str:
        path = tmp_path / folder / "views.csv"
        path.parent.mkdir()
        rows = [
            f"{image.name},{'PA' if int(re.search(r'[1-9][0-9]', image.name)[0]) >= first else 'AP'}"
            for image in sorted(images.glob("*/*"))
        ]
        path.write_text("\n".join(["file,view", *rows]))
        return f"{path}:view=PA"

    directory = tmp_path / "shards"
    flags = {"test_fraction": None}
    manifest = build(images, directory, hold_out_metadata=write("a", 20), **flags).manifest
    assert manifest.splits["test"].num_examples == 41
    elsewhere = write("b", 20)
    assert build(images, directory, hold_out_metadata=elsewhere, **flags).num_decoded == 0
    assert not build(images, directory, hold_out_metadata=elsewhere, **flags, verify=True).notes
    with pytest.raises(UserError, match=r"views.csv:view=PA \(41 images.*now .*\(36 images"):
        build(images, directory, hold_out_metadata=write("c", 21), **flags)
