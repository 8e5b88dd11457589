"""What counts as the same data: the records of every split, not only the images they came from."""

import dataclasses

import pytest

from engine.shards import data_identity, tfrecords


def shard(name, sha256="a" * 64, num_examples=10):
    return tfrecords.ShardInfo(
        file=name, num_examples=num_examples, bytes=1000, sha256=sha256, records_sha256="0" * 64
    )


def split(*shards):
    counts = {"ill": 4 * len(shards), "well": 6 * len(shards)}
    return tfrecords.SplitInfo(num_examples=10 * len(shards), class_counts=counts, shards=shards)


MANIFEST = tfrecords.Manifest(
    class_names=("ill", "well"),
    image_size=(16, 16),
    channels=1,
    encoding="raw",
    keep_aspect_ratio=False,
    resize_method="antialiased bilinear",
    group_by="patient",
    seed=0,
    source={"name": "images", "num_files": 30, "fingerprint": "f" * 64},
    splits={"train": split(shard("a"), shard("b", "b" * 64)), "test": split(shard("c"))},
)
DESCRIBED = data_identity.describe(MANIFEST)


def differences(before=DESCRIBED, **changed):
    now = data_identity.describe(dataclasses.replace(MANIFEST, **changed))
    return data_identity.differences(before, now), now["identity"]


def test_the_same_data_elsewhere_and_by_another_version_is_the_same():
    assert differences(versions={"python": "4"}, warnings=("one",)) == ([], DESCRIBED["identity"])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"source": {**MANIFEST.source, "fingerprint": "e" * 64}}, "other images"),
        ({"image_size": (32, 32)}, "image_size [16, 16], now [32, 32]"),
        ({"seed": 1}, "seed 0, now 1"),
        ({"group_by": "none"}, "group_by patient, now none"),
        ({"class_names": ("well", "ill")}, "class_names"),
        ({"splits": {"train": MANIFEST.splits["train"]}}, "splits train, test, now train"),
        (
            {"splits": {**MANIFEST.splits, "test": split(shard("c"), shard("d"))}},
            "test split of 10 images, now 20",
        ),
        (
            {"splits": {**MANIFEST.splits, "test": split(shard("c", "d" * 64))}},
            "test split of other records",
        ),
        (
            {"splits": {**MANIFEST.splits, "train": split(shard("b", "b" * 64), shard("a"))}},
            "train split of other records",
        ),
    ],
)
def test_what_differs_is_named_and_changes_the_identity(changed, said):
    found, identity = differences(**changed)
    assert len(found) == 1 and said in found[0]
    assert identity != DESCRIBED["identity"]


def test_what_an_earlier_version_did_not_store_is_not_compared():
    earlier = {
        "fingerprint": "f" * 64,
        "seed": 0,
        "splits": {
            name: {key: one[key] for key in ("num_examples", "class_counts")}
            for name, one in DESCRIBED["splits"].items()
        },
    }
    assert differences(earlier)[0] == []
    assert differences({"fingerprint": "f" * 64})[0] == []
    assert differences(earlier, seed=1)[0] == ["seed 0, now 1"]
