"""Shards of DICOM files: patients from headers, metadata for strata, and what is left out."""

import csv
import hashlib
import json
from pathlib import Path

import dicom_files
import numpy as np
import pytest
from pydicom import uid
from refused_imports import without

from engine.base.build_settings import BuildConfig
from engine.base.config import UserError
from engine.evaluation import metadata_columns
from engine.images.dicom import recognition
from engine.shards import build_checks, builder, tfrecords

SIZE = 32
SYNTAXES = (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """48 images of 16 patients, without endings; three that are no images, and one PNG."""
    root = tmp_path_factory.mktemp("dicom")
    rng = np.random.default_rng(0)
    for number in range(48):
        place = root / ("sick" if number % 2 else "well")
        place.mkdir(exist_ok=True)
        pixels = rng.integers(0, 4096, (SIZE, SIZE)).astype(np.uint16)
        pixels[0, :2] = 0, 4095
        data = dicom_files.encoded(
            pixels,
            bits=12,
            syntax=SYNTAXES[number % 3],
            PatientID=f"MRN-{number // 3}",
            StudyInstanceUID=f"1.2.{number}",
            ViewPosition=("PA", "AP")[number // 3 % 2],
            PatientAge=f"{number:03}Y",
        )
        (place / f"{number:04}").write_bytes(data)
    report = dicom_files.encoded(
        pixels, SOPClassUID=uid.BasicTextSRStorage, PixelData=None, Rows=None, Columns=None
    )
    (root / "well" / "report").write_bytes(report)
    (root / "well" / "truncated.dcm").write_bytes(data[:-300])
    (root / "sick" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(99))
    from PIL import Image

    Image.fromarray((pixels >> 4).astype(np.uint8)).save(root / "sick" / "person1_virus_1.png")
    return root


def build(folder: Path, shards: Path, **settings) -> tfrecords.Manifest:
    config = BuildConfig(**{"image_size": (SIZE, SIZE), "test_fraction": 0.2, **settings})
    return builder.build(config, folder, shards)


@pytest.fixture(scope="module")
def shards(folder, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("shards") / "built"
    build(folder, target, workers=1)
    return target


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def examples(shards: Path) -> list[tuple[str, str, str]]:
    """(split, path, patient) of every record."""
    import tensorflow as tf

    found = []
    manifest = tfrecords.read_manifest(shards)
    for split, info in manifest.splits.items():
        for shard in info.shards:
            for record in tf.data.TFRecordDataset(str(shards / shard.file)).as_numpy_iterator():
                features = tf.train.Example.FromString(record).features.feature
                path, patient = (
                    features[name].bytes_list.value[0].decode() for name in ("path", "patient")
                )
                found.append((split, path, patient))
    return found


def test_what_holds_no_image_is_left_out_with_its_reason(shards):
    reasons = {row["path"]: row["reason"] for row in rows_of(shards / "rejected.csv")}
    assert set(reasons) == {"well/report", "well/truncated.dcm", "sick/DICOMDIR"}
    assert "Basic Text SR" in reasons["well/report"]
    assert "truncated" in reasons["well/truncated.dcm"]
    assert "damaged DICOM file" in reasons["sick/DICOMDIR"]


def test_patients_of_headers_are_in_one_split_each(shards):
    splits: dict[str, set[str]] = {}
    found = examples(shards)
    for split, path, patient in found:
        splits.setdefault(patient, set()).add(split)
        assert patient == "person1" or len(patient) == 16, path
    assert len(found) == 49
    assert len(splits) == 17  # and the PNG's, by its name
    assert all(len(names) == 1 for names in splits.values())
    assert {split for split, _, _ in found} == {"train", "validation", "test"}


def test_no_patient_id_is_written_anywhere(shards):
    for path in shards.iterdir():
        assert b"MRN-" not in path.read_bytes(), path


def test_any_number_of_workers_writes_the_same_bytes(folder, shards, tmp_path):
    build(folder, tmp_path / "again", workers=3)
    names = [path.name for path in shards.glob("*.tfrecord")] + ["dicom.csv", "rejected.csv"]
    for name in names:
        assert (tmp_path / "again" / name).read_bytes() == (shards / name).read_bytes()


def test_the_table_of_headers_serves_as_strata(shards):
    paths = [path for _, path, _ in examples(shards)]
    view, age = metadata_columns.read(f"{shards}/dicom.csv:view,age:18,40", paths)
    of_views = view.of(paths).values
    assert {"PA", "AP", ""} == set(of_views)
    for path, shown in zip(paths, of_views, strict=True):
        if not path.endswith(".png"):
            assert shown == ("PA", "AP")[int(path[-4:]) // 3 % 2]
            assert age.values[path] == str(int(path[-4:]))


def test_the_table_is_checked_and_restored(folder, shards, tmp_path):
    target = tmp_path / "copy"
    build(folder, target, workers=1)
    manifest = json.loads((target / "manifest.json").read_text())
    before = (target / "dicom.csv").read_bytes()
    assert manifest["audit"]["dicom"]["sha256"] == hashlib.sha256(before).hexdigest()
    (target / "dicom.csv").write_text("path\n")
    with pytest.raises(UserError, match=r"dicom\.csv: is not what the build wrote"):
        build_checks.verified(target)
    build(folder, target, workers=1)
    assert (target / "dicom.csv").read_bytes() == before
    build_checks.verified(target)


def test_a_table_of_a_build_selects_what_another_one_holds_out(folder, shards, tmp_path):
    manifest = build(
        folder,
        tmp_path / "held",
        workers=1,
        test_fraction=None,
        hold_out_metadata=f"{shards}/dicom.csv:view=AP",
    )
    assert manifest.splits["test"].num_examples == 24
    assert manifest.splits["train"].num_examples + manifest.splits["validation"].num_examples == 25


def test_grouping_by_name_leaves_the_header_out(folder, tmp_path):
    build(folder, tmp_path / "named", workers=1, group_by=r"(\d{3})")
    assert {
        len(patient) for _, path, patient in examples(tmp_path / "named") if path[-4:].isdigit()
    } == {3}


def test_other_folders_get_no_table_and_do_not_import_pydicom(tmp_path):
    import subprocess
    import sys

    from PIL import Image

    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (8, 8), 40 * number).save(tmp_path / f"images/{name}/{name}{number}.png")
    program = (
        "import sys\n"
        "from engine import build_tfrecords\n"
        f"sys.exit(build_tfrecords.main([{str(tmp_path / 'images')!r}, {str(tmp_path / 'shards')!r}]))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", without(["pydicom"], program)],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "shards" / "dicom.csv").exists()


def test_without_pydicom_dicom_files_are_left_out_with_the_cure(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "is_readable", lambda: False)
    with pytest.raises(UserError, match=r"class 'well' has no usable image.*pip install -e"):
        build(folder, tmp_path / "without", workers=1)
    (folder / "sick" / "person1_virus_1.png").rename(tmp_path / "kept.png")
    try:
        with pytest.raises(
            UserError, match=r"all 51 files are DICOM.*pip install -e '\.\[dicom\]'"
        ):
            build(folder, tmp_path / "none", workers=1)
    finally:
        (tmp_path / "kept.png").rename(folder / "sick" / "person1_virus_1.png")


def test_files_of_one_patient_alone_are_warned_of(tmp_path):
    for number in range(8):
        place = tmp_path / "images" / ("a" if number % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8), number, np.uint8)
        data = dicom_files.encoded(pixels, PatientID="ANON", StudyInstanceUID=f"1.{number}")
        (place / f"{number}.dcm").write_bytes(data)
    manifest = build(tmp_path / "images", tmp_path / "shards", workers=1, test_fraction=None)
    assert any("same Patient ID" in warning for warning in manifest.warnings)
