"""Images held out by their path or their metadata: a test of what training has not seen.

A split drawn at random resembles the training images in everything but the patients. One that is
held out as a whole (another series, another view, another site) shows what a classifier has learnt
beyond them. Nobody in it may be known from training: patients, and copies of images, that both sides have
are removed from one of them.
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.base.config import UserError
from engine.base.files import one_line
from engine.base.setting_values import parse_column_values
from engine.base.wording import counted, some_of
from engine.images import metadata
from engine.images.image_folder import EXTERNAL, TEST, TRAIN, VALIDATION, Example

AUTO = "auto"
HELD_OUT, IN_TRAIN = "held-out", "train"  # who keeps the patients that both sides have


@dataclasses.dataclass(frozen=True, kw_only=True)
class HoldOut:
    """What to hold out; an image that either rule selects is held out, unless it is in a test folder.

    Attributes:
        pattern: a regular expression, searched for in the path relative to the image folder.
        metadata: `FILE.csv:COLUMN=VALUE[,VALUE]`.
        split: `test`, `external`, or `auto`: `external` where the tree has a test folder.
        shared: what becomes of patients, and copies, that both sides have: `held-out` keeps them there
            and removes them from training; `train` the other way round.
    """

    pattern: str | None = None
    metadata: str | None = None
    split: str = AUTO
    shared: str = HELD_OUT

    def __bool__(self) -> bool:
        return self.pattern is not None or self.metadata is not None

    @property
    def flags(self) -> str:
        """The flags given, as the user typed them."""
        given = {"--hold-out": self.pattern, "--hold-out-metadata": self.metadata}
        return " ".join(f"{flag} {value!r}" for flag, value in given.items() if value is not None)


@dataclasses.dataclass(frozen=True)
class Division:
    """A tree's examples, divided into what is held out and the rest.

    Attributes:
        split: what the held-out images form; '' where nothing is held out.
        held: the held-out examples, with that split.
        rest: the others, from which training and validation are drawn.
        removed: path -> why it is in neither.
        validation_left: class -> how many images the tree's validation folder has left, where it lost
            any.
        recipe: for the manifest: the rules, and what they selected and removed.
    """

    split: str
    held: tuple[Example, ...]
    rest: tuple[Example, ...]
    removed: dict[str, str]
    validation_left: Mapping[str, int] = dataclasses.field(default_factory=dict)
    recipe: dict[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def divide(examples: Sequence[Example], groups: Mapping[str, str], hold_out: HoldOut) -> Division:
    """Takes out what is held out, and removes from one of the sides whatever both have.

    The tree's own test folder stays as it is: what others measure on too is not made smaller.

    Raises:
        UserError: the metadata cannot be used, the rules select no image or all of them, leave a
            class without an image to train on, or the split would mix with the test folder.
    """
    if not hold_out:
        return Division("", (), tuple(examples), {})
    split = _split(examples, hold_out)
    selected, warnings = _selected(examples, hold_out)
    paths = {example.path for example in selected if example.split != TEST}
    others = [example for example in examples if example.path not in paths]
    removed = _removed(examples, paths, groups, hold_out, split)
    rest = tuple(example for example in others if example.path not in removed)
    held = tuple(
        example for example in examples if example.path in paths and example.path not in removed
    )
    _require_held(held, len(paths), hold_out)
    _require_trainable(examples, held, rest, hold_out)
    gone = [example for example in examples if example.path in removed]
    return Division(
        split=split,
        held=tuple(dataclasses.replace(example, split=split) for example in held),
        rest=rest,
        removed=removed,
        validation_left=_validation_left(examples, rest),
        recipe={
            "pattern": hold_out.pattern,
            "metadata": described(hold_out.metadata, held),
            "split": split,
            "shared": hold_out.shared,
            "images": len(held),
            "class_counts": _class_counts(held),
            "removed": len(gone),
            "removed_class_counts": _class_counts(gone),
        },
        notes=tuple(_stayed(selected)),
        warnings=(*warnings, *_absent(examples, held, split)),
    )


def _removed(
    examples: Sequence[Example],
    paths: Collection[str],
    groups: Mapping[str, str],
    hold_out: HoldOut,
    split: str,
) -> dict[str, str]:
    """Path -> why it is on neither side: its patient, or a copy of it, is on the other one.

    Args:
        paths: of the examples that the rules select.
    """
    inside = [example for example in examples if example.path in paths]
    outside = [e for e in examples if e.path not in paths and e.split != TEST]
    kept, reduced = (outside, inside) if hold_out.shared == IN_TRAIN else (inside, outside)
    reached = {groups[example.path] for example in kept}
    other = "train" if hold_out.shared == IN_TRAIN else split
    reason = f"shares a patient or its content with {other} ({_flag_names(hold_out)})"
    return {example.path: reason for example in reduced if groups[example.path] in reached}


def _require_held(held: Sequence[Example], num_selected: int, hold_out: HoldOut) -> None:
    if not held:
        raise UserError(
            f"{hold_out.flags} --hold-out-shared {hold_out.shared}: all {num_selected:,} images share a "
            "patient with the others, so none is left to hold out; --hold-out-shared held-out removes "
            "the others instead"
        )


def described(reference: str | None, held: Sequence[Example]) -> dict[str, Any] | None:
    """`--hold-out-metadata` in a manifest: wherever the file lies, what it selected decides."""
    if reference is None:
        return None
    paths = b"\n".join(sorted(os.fsencode(example.path) for example in held))
    return {
        "selection": without_folder(reference),
        "images": len(held),
        "sha256": hashlib.sha256(paths).hexdigest(),
    }


def without_folder(reference: str) -> str:
    """`folder/FILE.csv:COLUMN=VALUE` without the folder."""
    file, _, _ = parse_column_values(reference)
    return Path(file).name + reference[len(file) :]


# ---------------------------------------------------------------------------- what is selected


def _selected(examples: Sequence[Example], hold_out: HoldOut) -> tuple[list[Example], list[str]]:
    """The examples that the rules select, and warnings."""
    paths: set[str] = set()
    warnings: list[str] = []
    if hold_out.pattern is not None:
        paths |= _selected_by_pattern(examples, hold_out.pattern)
    if hold_out.metadata is not None:
        matching, warnings = _selected_by_metadata(examples, hold_out.metadata)
        paths |= matching
    selected = [example for example in examples if example.path in paths]
    num_trainable = sum(example.split != TEST for example in examples)
    num_held = sum(example.split != TEST for example in selected)
    if not num_held:
        raise UserError(
            f"{hold_out.flags}: selects images of the test folder alone ({len(selected):,}), which "
            "are not trained on anyway; select images of the other folders"
        )
    if num_held == num_trainable:
        raise UserError(
            f"{hold_out.flags}: holds out all {counted(num_held, 'image')}; nothing would be left to "
            "train on"
        )
    return selected, warnings


def _selected_by_pattern(examples: Sequence[Example], pattern: str) -> set[str]:
    compiled = re.compile(pattern)
    matching = {example.path for example in examples if compiled.search(example.path)}
    if not matching:
        raise UserError(
            f"--hold-out: got {pattern!r}, which matches none of {counted(len(examples), 'path')} (for "
            f"example {some_of(example.path for example in examples[:1])}); expected a regular "
            "expression for the paths of the images to hold out"
        )
    return matching


def _selected_by_metadata(
    examples: Sequence[Example], reference: str
) -> tuple[set[str], list[str]]:
    file, column, values = parse_column_values(reference)
    found = metadata.read_column(file, column, [example.path for example in examples])
    for value in values:
        if value not in found.values():
            known = [name for name, _ in Counter(found.values()).most_common()]
            raise UserError(
                f"--hold-out-metadata: got {reference!r}, but no image has {value!r} in column "
                f"{column!r} of {file}, only {some_of(known)}"
            )
    undescribed = [example.path for example in examples if example.path not in found]
    warnings = []
    if undescribed:
        warnings.append(
            f"{counted(len(undescribed), 'image')} not described by {one_line(Path(file).name)} "
            f"({some_of(undescribed)}), so not held out by it"
        )
    return {path for path, value in found.items() if value in values}, warnings


def _split(examples: Sequence[Example], hold_out: HoldOut) -> str:
    """The split that held-out images form."""
    has_test = any(example.split == TEST for example in examples)
    if hold_out.split == TEST and has_test:
        raise UserError(
            "--hold-out-split: got test, but the image folder has a test folder of its own; leave "
            "the flag out to form a split called external"
        )
    if hold_out.split == AUTO:
        return EXTERNAL if has_test else TEST
    return hold_out.split


# ---------------------------------------------------------------------------- what is left


def _require_trainable(
    examples: Sequence[Example],
    held: Sequence[Example],
    rest: Sequence[Example],
    hold_out: HoldOut,
) -> None:
    """Raises `UserError` where a class that could be trained on has no image left for it."""
    pool, taken, left = (
        _class_counts([example for example in many if example.split in ("", TRAIN)])
        for many in (examples, held, rest)
    )
    for name, count in pool.items():
        if name not in left:
            held_out = taken.get(name, 0)
            raise UserError(
                f"{hold_out.flags}: leaves no image of class {name!r} to train on ({held_out:,} held "
                f"out, {count - held_out:,} removed with their patients or as copies); hold out "
                "fewer, so that images of every class are left"
            )


def _validation_left(examples: Sequence[Example], rest: Sequence[Example]) -> dict[str, int]:
    before, now = (
        _class_counts([example for example in many if example.split == VALIDATION])
        for many in (examples, rest)
    )
    return {} if before == now else {name: now.get(name, 0) for name in before}


def _stayed(selected: Sequence[Example]) -> list[str]:
    """A note where the rules select images of the tree's own test folder too."""
    stayed = [example.path for example in selected if example.split == TEST]
    if not stayed:
        return []
    return [
        f"{counted(len(stayed), 'image')} of the test folder ({some_of(stayed)}) would be held out "
        "too, but stay in test"
    ]


def _absent(examples: Sequence[Example], held: Sequence[Example], split: str) -> list[str]:
    """A warning for each class of which nothing is held out."""
    present = _class_counts(held)
    return [
        f"{split} has no image of class {name!r}, so it cannot show how well classes are told apart; "
        "hold out images of every class"
        for name in _class_counts(examples)
        if name not in present
    ]


def _class_counts(examples: Sequence[Example]) -> dict[str, int]:
    return dict(sorted(Counter(example.class_name for example in examples).items()))


def _flag_names(hold_out: HoldOut) -> str:
    return "--hold-out" if hold_out.pattern is not None else "--hold-out-metadata"
