"""What a run keeps of a build's audit are numbers; no file and no patient is named."""

import dataclasses
import json

from tiny_builds import build, save

from engine.shards import audit_counts, tfrecords


def test_an_audit_is_kept_as_numbers(tmp_path):
    for patient in range(20):
        for name in ("a", "b"):
            save(tmp_path / "images" / name / f"person{patient}_virus_{patient}.jpeg", patient)
    (tmp_path / "images" / "a" / "broken.jpeg").write_bytes(b"x")
    build(tmp_path / "images", tmp_path / "shards")
    manifest = tfrecords.read_manifest(tmp_path / "shards")
    counts = audit_counts.describe(manifest)
    assert counts["source"] == "images" and counts["rejected"] == manifest.rejected == 1
    assert counts["duplicate_images"] == counts["conflicting_labels"] == 20
    assert counts["patients"] == 20 and counts["leaking_images"] == 0
    assert "person" not in json.dumps(counts) and "jpeg" not in json.dumps(counts)


def test_what_a_manifest_lacks_is_left_out(tmp_path):
    for label in "ab":
        for number in range(10):
            save(tmp_path / "images" / label / f"{number}.jpeg", number + 100 * (label == "b"))
    build(tmp_path / "images", tmp_path / "shards")
    manifest = tfrecords.read_manifest(tmp_path / "shards")
    bare = audit_counts.describe(dataclasses.replace(manifest, audit={}, source={}))
    assert bare == {"source": None, "num_files": None, "rejected": 0}
    recipe = {"split": "test", "images": 3, "metadata": {"selection": "view=AP"}, "rows": ["p1"]}
    held = dataclasses.replace(manifest, audit={"hold_out": recipe})
    found = audit_counts.describe(held)["hold_out"]
    assert found == {"split": "test", "images": 3, "selection": "view=AP"}
