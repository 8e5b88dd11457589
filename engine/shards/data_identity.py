"""The identity of a data set: what a run or a search started from, compared on resume.

The images that a folder holds are not enough: the same ones split by another seed put trained images
into the test split. What counts is the records of each split, by the checksums of their shards.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from engine.shards.tfrecords import Manifest, SplitInfo

_SHOWN = 12  # characters of a digest


def describe(manifest: Manifest) -> dict[str, Any]:
    """The data set as JSON values, for `differences`; `identity` is a SHA-256 (hex) over the others."""
    values: dict[str, Any] = {
        "fingerprint": manifest.fingerprint,
        "class_names": list(manifest.class_names),
        "image_size": list(manifest.image_size),
        "channels": manifest.channels,
        "keep_aspect_ratio": manifest.keep_aspect_ratio,
        "group_by": manifest.group_by,
        "seed": manifest.seed,
        "splits": {name: _describe_split(split) for name, split in manifest.splits.items()},
    }
    return {**values, "identity": _digest(values)}


def _describe_split(split: SplitInfo) -> dict[str, Any]:
    return {
        "num_examples": split.num_examples,
        "class_counts": dict(split.class_counts),
        "records": _digest([[shard.num_examples, shard.sha256] for shard in split.shards]),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two data sets differ, in words; empty if they are one.

    Args:
        before: as `describe` gave it, perhaps in an earlier version: what it does not say is not
            compared.
        now: as `describe` gives it.
    """
    if _differ(before, now, "fingerprint"):
        return [
            f"other images: fingerprint {str(before['fingerprint'])[:_SHOWN]}, "
            f"now {now['fingerprint'][:_SHOWN]}"
        ]
    plain = ("class_names", "image_size", "channels", "keep_aspect_ratio", "group_by", "seed")
    found = [
        f"{name} {before[name]}, now {now[name]}" for name in plain if _differ(before, now, name)
    ]
    return found + _split_differences(before.get("splits") or now["splits"], now["splits"])


def divided_alike(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether two data sets of the same images have the same ones in each split, perhaps in other sizes.

    Args:
        before, now: as for `differences`.
    """
    differing = differences(before, now)
    if not differing:
        return True
    if any(_differ(before, now, name) for name in ("fingerprint", "seed", "group_by")):
        return False
    formats = ("image_size", "channels", "keep_aspect_ratio")
    if not any(_differ(before, now, name) for name in formats):
        return False
    counts = ("num_examples", "class_counts")
    splits = [
        {name: [split.get(key) for key in counts] for name, split in each.get("splits", {}).items()}
        for each in (before, now)
    ]
    return splits[0] == splits[1]


def _split_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    if before.keys() != now.keys():
        return [f"splits {', '.join(before)}, now {', '.join(now)}"]
    found = []
    for name, split in before.items():
        if _differ(split, now[name], "num_examples"):
            found.append(
                f"{name} split of {split['num_examples']:,} images, "
                f"now {now[name]['num_examples']:,}"
            )
        elif _differ(split, now[name], "class_counts") or _differ(split, now[name], "records"):
            found.append(f"{name} split of other records")
    return found


def _differ(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> bool:
    return name in before and before[name] != now[name]
