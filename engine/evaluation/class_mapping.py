"""Which class of a run each class of a data set is, where the two have different names or others besides."""

import dataclasses
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.base import setting_values
from engine.base.config import UserError
from engine.base.setting_names import closest
from engine.base.wording import counted
from engine.shards.tfrecords import Manifest


@dataclasses.dataclass(frozen=True)
class ClassMapping:
    """How a split's labels become a run's.

    Attributes:
        names: class of the shards -> class of the run; None where they have the same classes.
        labels: int64[C]: for each label of the shards the run's, or -1: left out.
        left_out: class of the shards -> examples of the split that are left out.
    """

    names: Mapping[str, str] | None
    labels: np.ndarray
    left_out: Mapping[str, int]

    def __str__(self) -> str:
        """`A as NORMAL, B as PNEUMONIA; 20 images of C left out`."""
        pairs = ", ".join(f"{theirs} as {ours}" for theirs, ours in (self.names or {}).items())
        number = sum(self.left_out.values())
        others = ", ".join(name for name, count in self.left_out.items() if count)
        return pairs + (f"; {counted(number, 'image')} of {others} left out" if number else "")

    def counts(self, examples: Iterable[int], num_classes: int) -> list[int]:
        """Examples of each class of the run, out of those of each class of the shards."""
        found = [0] * num_classes
        for label, number in zip(self.labels, examples, strict=True):
            if label >= 0:
                found[label] += number
        return found

    def applied(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The examples of a batch that are not left out, with the run's labels.

        Args:
            batch: arrays of N entries; `label`, int[N], among them.
        """
        labels = self.labels[np.asarray(batch["label"])]
        if (labels >= 0).all():
            return {**batch, "label": labels}
        kept = {name: np.asarray(values)[labels >= 0] for name, values in batch.items()}
        return {**kept, "label": labels[labels >= 0]}


def matched(
    text: str | None,
    *,
    trained_on: Sequence[str],
    manifest: Manifest,
    split: str,
    shards: Path,
) -> ClassMapping:
    """The mapping that `--classes` asks for; without it, of classes with the same names in any order.

    Args:
        text: see `engine.base.setting_values.parse_class_mapping`.
        trained_on: the run's classes.
        manifest: that of the shards.
        split: whose examples are counted.
        shards: for messages.

    Raises:
        UserError: classes are not those of the run and none are mapped, a name is of no class, or the
            split holds no example of a mapped class.
    """
    found = manifest.class_names
    if text is None:
        if set(trained_on) != set(found):
            raise UserError(
                f"{shards}: got classes {list(found)}, but the run was trained on "
                f"{list(trained_on)}; say which is which by --classes, such as "
                f"--classes {shlex.quote(example(found, trained_on))}"
            )
        return ClassMapping(None, np.array([trained_on.index(name) for name in found]), {})
    names = setting_values.parse_class_mapping(text)
    for theirs, ours in names.items():
        for name, known, whose in ((theirs, found, shards), (ours, trained_on, "the run")):
            if name not in known:
                raise UserError(f"--classes: {whose} has no class {name!r}; {_meant(name, known)}")
    counts = manifest.splits[split].class_counts
    if not sum(counts.get(name, 0) for name in names):
        raise UserError(
            f"--classes: the {split} split of {shards} holds no image of {', '.join(names)}"
        )
    labels = [trained_on.index(names[name]) if name in names else -1 for name in found]
    left_out = {name: counts.get(name, 0) for name in found if name not in names}
    if not left_out and all(theirs == ours for theirs, ours in names.items()):
        return ClassMapping(None, np.array(labels), {})
    return ClassMapping(names, np.array(labels), left_out)


def _meant(name: str, known: Sequence[str]) -> str:
    meant = closest(name, known)
    return f"did you mean {meant!r}?" if meant else f"expected one of {', '.join(known)}"


def example(found: Sequence[str], trained_on: Sequence[str]) -> str:
    """What `--classes` may look like for classes of other names."""
    same = [name for name in found if name in trained_on]
    others = [name for name in found if name not in same]
    free = [name for name in trained_on if name not in same]
    pairs = [(name, name) for name in same] + list(zip(others, free, strict=False))
    return ",".join("=".join(map(setting_values.escaped_class, pair)) for pair in pairs)
