"""Which example goes into which split, so that no patient is in two splits; and an audit of the tree.

Splits are disjoint by group: the connected components of "same patient or same content". All draws
are hashes of the seed and a path, so that they do not depend on how files are listed.
"""

import dataclasses
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from engine.base.config import UserError
from engine.base.wording import counted, some_of
from engine.images import groups as grouping
from engine.images import hold_out as holding_out
from engine.images import tree_audit
from engine.images.folder_contents import Contents
from engine.images.hold_out import Division, HoldOut
from engine.images.image_folder import EXTERNAL, TEST, TRAIN, VALIDATION, Example, ImageFolder
from engine.images.patients import with_patients

SMALL_VALIDATION = 50  # images of a class; below it, a share of them is known to 10 points at best
DEFAULT_FRACTION = 0.1
NOTHING_HELD_OUT = HoldOut()


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which example goes where.

    Attributes:
        splits: split -> examples in the order they are written: mixed by a seeded hash of the path.
        dropped: path -> why it was left out (`--on-leak drop`, `--hold-out`).
        audit: counts of what was found, with a few names of each.
        notes: decisions, one line each; `warnings`: what the user should check.
    """

    splits: dict[str, tuple[Example, ...]]
    dropped: dict[str, str]
    audit: dict
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def plan_splits(
    folder: ImageFolder,
    contents: Contents,
    *,
    group_by: str,
    validation_fraction: float | None,
    test_fraction: float | None,
    on_leak: str,
    seed: int,
    hold_out: HoldOut = NOTHING_HELD_OUT,
    known_patients: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Decides the splits and audits them. Deterministic, whatever order files are listed in.

    The tree's own splits stand, and fractions are drawn from train: by class, and whole groups at
    a time, a group being all images that share a patient or their content. Left at None, a
    fraction is `DEFAULT_FRACTION` where training could not do without (class folders only; no
    validation folder), else nothing is drawn. A given validation fraction puts the
    tree's validation folder back into the pool it is drawn from. What is held out comes first: it
    is a split of its own, and nothing that shares a group with it is trained on or drawn.

    Args:
        known_patients: path -> the patient that a file names itself; see `patients.with_patients`.

    Raises:
        UserError: a fraction cannot be drawn, `on_leak` is `fail` and a group
            is in two splits, train would lack a class that another split has, or `hold_out` cannot
            be held out.
    """
    examples, warnings = with_patients(folder.examples, group_by, known_patients)
    warnings = [*folder.warnings, *warnings]
    notes: list[str] = []
    groups = grouping.connected(examples, contents)
    audit = tree_audit.audit_tree(examples, contents)
    warnings += tree_audit.warnings(audit)
    division = holding_out.divide(examples, groups, hold_out)
    warnings += division.warnings
    notes += division.notes
    left = dataclasses.replace(folder, examples=division.rest)
    fractions = _fractions(left, division, validation_fraction, test_fraction, notes)
    assigned = [*_assign(division.rest, groups, fractions, seed), *division.held]
    leaks = _leaking_groups(assigned, groups)
    dropped = _treat_leaks(assigned, groups, leaks, on_leak, warnings)
    audit |= {"leaking_images": sum(map(len, leaks.values())), "on_leak": on_leak}
    audit["dropped"] = len(dropped)
    if hold_out:
        audit["hold_out"] = division.recipe
        dropped = {**division.removed, **dropped}
    kept = [example for example in assigned if example.path not in dropped]
    splits = {
        split: tuple(
            sorted(
                (example for example in kept if example.split == split),
                key=lambda example: _rank(seed, example.path),
            )
        )
        for split in (TRAIN, VALIDATION, TEST, EXTERNAL)
    }
    splits = {split: members for split, members in splits.items() if members}
    _require_trainable(splits, folder.class_names)
    warnings += _small_validation(splits, folder.class_names, fractions)
    if TRAIN in splits and TEST not in splits:
        notes.append("no test split: --test-fraction 0.1 would hold a tenth of train back")
    return Plan(splits, dropped, audit, tuple(notes), tuple(warnings))


def _rank(seed: int, key: str) -> bytes:
    """A draw that depends on the seed and the key alone."""
    return hashlib.sha256(f"{seed}\0".encode() + os.fsencode(key)).digest()


def _fractions(
    folder: ImageFolder,
    division: Division,
    validation_fraction: float | None,
    test_fraction: float | None,
    notes: list[str],
) -> dict[str, float]:
    """Split -> the share of the pool to draw for it. An own split that is not drawn is kept."""
    own = folder.own_splits
    drawable = not own or TRAIN in own
    asked = {VALIDATION: validation_fraction, TEST: test_fraction}
    for split, fraction in asked.items():
        if fraction and not drawable:
            raise UserError(
                f"--{split}-fraction: got {fraction}, but {folder.root} has no train folder to draw "
                "from; leave the flag out"
            )
    if test_fraction and TEST in own:
        raise UserError(
            f"--test-fraction: got {test_fraction}, but {folder.root} has a test folder of its own; "
            "leave the flag out to keep it, or move that folder away"
        )
    if test_fraction and division.split == TEST:
        raise UserError(
            f"--test-fraction: got {test_fraction}, but the images held out are the test split; "
            "--hold-out-split external keeps both"
        )
    too_few = _too_few_left(division) if TRAIN in own and validation_fraction is None else {}
    if too_few:
        validation_fraction = asked[VALIDATION] = DEFAULT_FRACTION
        kept = ", ".join(f"{count:,} of class {name}" for name, count in too_few.items())
        notes.append(
            f"of the validation folder only {kept} are left, the others held out or removed: drew a "
            f"share of {DEFAULT_FRACTION} from train (--validation-fraction)"
        )
    fractions = {}
    for split, fraction in asked.items():
        needed = not own or (split == VALIDATION and TRAIN in own and VALIDATION not in own)
        needed = needed and split != division.split
        if fraction is None and needed:
            fraction = DEFAULT_FRACTION
            notes.append(
                f"no {split} folder: drew a share of {fraction} from train (--{split}-fraction)"
            )
        if fraction:
            fractions[split] = fraction
    if validation_fraction and VALIDATION in own:
        notes.append(_pooled_note(folder.examples))
    return fractions


def _too_few_left(division: Division) -> dict[str, int]:
    """Class -> its images in a validation folder that lost some, where a draw would give more."""
    trainable = [example for example in division.rest if example.split in (TRAIN, VALIDATION)]
    pool = Counter(example.class_name for example in trainable)
    return {
        name: left
        for name, left in division.validation_left.items()
        if left < SMALL_VALIDATION and left < max(1, round(DEFAULT_FRACTION * pool[name]))
    }


def _pooled_note(examples: Sequence[Example]) -> str:
    counts = Counter(example.class_name for example in examples if example.split == VALIDATION)
    why = "too small to use" if min(counts.values()) < SMALL_VALIDATION else "replaced by a draw"
    shown = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    return f"the validation folder ({shown}) is {why}: its images joined train's pool"


def _assign(
    examples: Sequence[Example],
    groups: Mapping[str, str],
    fractions: Mapping[str, float],
    seed: int,
) -> list[Example]:
    """The examples with their final split."""
    pooled = {"", TRAIN} | ({VALIDATION} if VALIDATION in fractions else set())
    pool = [example for example in examples if example.split in pooled]
    drawn = _draw(grouping.members(pool, groups), fractions, seed)
    return [
        dataclasses.replace(example, split=drawn.get(groups[example.path], TRAIN))
        if example.split in pooled
        else example
        for example in examples
    ]


def _draw(
    members: Mapping[str, Sequence[Example]], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Group -> split, for the groups drawn; test is drawn first, so that it does not depend on
    the validation fraction."""
    sizes = {
        name: Counter(example.class_name for example in group) for name, group in members.items()
    }
    # Named by its content rather than by its listing: the first path is the same in any order.
    order = sorted(
        sizes, key=lambda name: _rank(seed, min(example.path for example in members[name]))
    )
    pool = sum(sizes.values(), Counter())
    drawn: dict[str, str] = {}
    for split in (TEST, VALIDATION):
        if split not in fractions:
            continue
        target = {
            name: max(round(fractions[split] * count), 1 if count >= 3 else 0)
            for name, count in pool.items()
        }
        for name in _nearest(order, sizes, target, drawn):
            drawn[name] = split
    return drawn


def _nearest(
    order: Sequence[str],
    sizes: Mapping[str, Counter],
    target: Mapping[str, int],
    taken: Mapping[str, str],
) -> Iterator[str]:
    """Groups, in order, each of which brings the counts by class nearer to `target`."""
    missing = dict(target)
    for name in order:
        if name in taken:
            continue
        change = sum(abs(missing[c] - n) - abs(missing[c]) for c, n in sizes[name].items())
        if change < 0:
            for class_name, count in sizes[name].items():
                missing[class_name] -= count
            yield name


# ---------------------------------------------------------------------------- leaks


def _leaking_groups(
    assigned: Sequence[Example], groups: Mapping[str, str]
) -> dict[str, list[Example]]:
    """Group -> its examples outside its best-protected split, for groups in two final splits."""
    leaks = {}
    for name, group in grouping.members(assigned, groups).items():
        keeper = _keeper(group)
        outside = [example for example in group if example.split != keeper]
        if outside:
            leaks[name] = outside
    return leaks


def _keeper(group: Sequence[Example]) -> str:
    """Test before validation before train: what is measured on is never made smaller."""
    present = {example.split for example in group}
    return next(split for split in (TEST, EXTERNAL, VALIDATION, TRAIN) if split in present)


def _treat_leaks(
    assigned: Sequence[Example],
    groups: Mapping[str, str],
    leaks: Mapping[str, list[Example]],
    on_leak: str,
    warnings: list[str],
) -> dict[str, str]:
    """Path -> reason, for the examples to drop; warns or raises as `on_leak` says."""
    if not leaks:
        return {}
    images = [example for group in leaks.values() for example in group]
    where = f"{EXTERNAL}, " if any(image.split == EXTERNAL for image in images) else ""
    found = (
        f"{counted(len(images), 'image')} of {where}train or validation share a patient or their very "
        f"content with a split that is measured on ({some_of(image.path for image in images)})"
    )
    if on_leak == "fail":
        raise UserError(f"{found}; --on-leak drop leaves them out, --on-leak warn keeps them")
    if on_leak == "warn":
        warnings.append(f"{found}; --on-leak drop leaves them out")
        return {}
    keepers = {
        name: _keeper(group)
        for name, group in grouping.members(assigned, groups).items()
        if name in leaks
    }
    return {
        example.path: f"shares a patient or its content with {keepers[name]} (--on-leak drop)"
        for name, group in leaks.items()
        for example in group
    }


# ---------------------------------------------------------------------------- is it usable


def _require_trainable(splits: Mapping[str, Sequence[Example]], class_names: Sequence[str]) -> None:
    if TRAIN not in splits:
        return
    trained = {example.class_name for example in splits[TRAIN]}
    for name in class_names:
        held = [
            split
            for split, many in splits.items()
            if any(example.class_name == name for example in many)
        ]
        if name not in trained and held:
            raise UserError(
                f"class {name!r} has images in {' and '.join(held)} but none in train, so that it "
                f"cannot be learnt; add images of it to train, or remove it from {' and '.join(held)}"
            )


def _small_validation(
    splits: Mapping[str, Sequence[Example]],
    class_names: Sequence[str],
    fractions: Mapping[str, float],
) -> list[str]:
    """A warning where validation is too small to choose a model by, with the flag that fixes it."""
    if TRAIN not in splits:
        return []
    held = Counter(example.class_name for example in splits.get(VALIDATION, ()))
    name = min(class_names, key=lambda class_name: (held[class_name], class_name))
    if held[name] >= SMALL_VALIDATION:
        return []
    pool = held[name] + sum(example.class_name == name for example in splits[TRAIN])
    share = max(DEFAULT_FRACTION, -(-SMALL_VALIDATION * 100 // pool) / 100)
    cure = f"--validation-fraction {share:g} holds back enough of train"
    if share > 0.5:
        cure = "the folder has too few images for more, so read its figures with care"
    return [
        f"validation has {counted(held[name], 'image')} of class {name!r}, fewer than "
        f"{SMALL_VALIDATION}; {cure}"
    ]
