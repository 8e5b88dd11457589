"""Which example goes into which split, so that no patient is in two splits; and an audit of the tree.

Splits are disjoint by group: the connected components of "same patient or same content". All draws
are hashes of the seed and a path, so that they do not depend on how files are listed.
"""

import dataclasses
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from engine.base.config import UserError
from engine.base.files import one_line
from engine.base.wording import counted, some_of
from engine.images.folder_contents import Contents
from engine.images.image_folder import TEST, TRAIN, VALIDATION, Example, ImageFolder
from engine.images.patients import with_patients

SMALL_VALIDATION = 50  # images of a class; below it, a share of them is known to 10 points at best
DEFAULT_FRACTION = 0.1


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which example goes where.

    Attributes:
        splits: split -> examples in the order they are written: mixed by a seeded hash of the path.
        dropped: path -> why it was left out (`--on-leak drop`).
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
) -> Plan:
    """Decides the splits and audits them. Deterministic, whatever order files are listed in.

    The tree's own splits stand, and fractions are drawn from train: by class, and whole groups at
    a time, a group being all images that share a patient or their content. Left at None, a
    fraction is `DEFAULT_FRACTION` where training could not do without (class folders only; no
    validation folder), else nothing is drawn. A given validation fraction puts the
    tree's validation folder back into the pool it is drawn from.

    Raises:
        UserError: a fraction cannot be drawn, `on_leak` is `fail` and a group
            is in two splits, or train would lack a class that another split has.
    """
    examples, warnings = with_patients(folder.examples, group_by)
    warnings = [*folder.warnings, *warnings]
    notes: list[str] = []
    groups = _groups(examples, contents)
    audit = _audit(examples, contents)
    warnings += _audit_warnings(audit)
    fractions = _fractions(folder, examples, validation_fraction, test_fraction, notes)
    assigned = _assign(examples, groups, fractions, seed)
    leaks = _leaking_groups(assigned, groups)
    dropped = _treat_leaks(assigned, groups, leaks, on_leak, warnings)
    audit |= {"leaking_images": sum(map(len, leaks.values())), "on_leak": on_leak}
    audit["dropped"] = len(dropped)
    kept = [example for example in assigned if example.path not in dropped]
    splits = {
        split: tuple(
            sorted(
                (example for example in kept if example.split == split),
                key=lambda example: _rank(seed, example.path),
            )
        )
        for split in (TRAIN, VALIDATION, TEST)
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


def _groups(examples: Sequence[Example], contents: Contents) -> dict[str, str]:
    """Path -> group: the connected components of "same patient or same content"."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    for example in examples:
        mine = find(f"path {example.path}")
        others = [f"patient {example.patient}"] if example.patient else []
        if digest := _content(example.path, contents):
            others.append(f"content {digest}")
        for other in others:
            low, high = sorted((mine, find(other)))
            parent[high] = mine = low
    return {example.path: find(f"path {example.path}") for example in examples}


def _content(path: str, contents: Contents) -> str:
    """The hash of a file; '' for the unreadable and the empty, which are not alike as images."""
    return "" if path in contents.empty else contents.keys[path]


def _fractions(
    folder: ImageFolder,
    examples: Sequence[Example],
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
    fractions = {}
    for split, fraction in asked.items():
        needed = not own or (split == VALIDATION and TRAIN in own and VALIDATION not in own)
        if fraction is None and needed:
            fraction = DEFAULT_FRACTION
            notes.append(
                f"no {split} folder: drew a share of {fraction} from train (--{split}-fraction)"
            )
        if fraction:
            fractions[split] = fraction
    if validation_fraction and VALIDATION in own:
        notes.append(_pooled_note(examples))
    return fractions


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
    members: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.split in pooled:
            members[groups[example.path]].append(example)
    drawn = _draw(members, fractions, seed)
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


# ---------------------------------------------------------------------------- audit


def _audit(examples: Sequence[Example], contents: Contents) -> dict:
    """What the tree itself looks like, before anything is drawn."""
    by_content: dict[str, list[Example]] = defaultdict(list)
    by_patient: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        if digest := _content(example.path, contents):
            by_content[digest].append(example)
        if example.patient:
            by_patient[example.patient].add(example.split)
    copies = [group for group in by_content.values() if len(group) > 1]
    across = [group for group in copies if len({example.split for example in group}) > 1]
    conflicts = [group for group in copies if len({example.class_name for example in group}) > 1]
    patients = sorted(name for name, splits in by_patient.items() if len(splits) > 1)
    return {
        "duplicate_images": sum(len(group) - 1 for group in copies),
        "duplicate_examples": _shown(copies),
        "duplicates_across_own_splits": len(across),
        "duplicates_across_examples": _shown(across),
        "conflicting_labels": len(conflicts),
        "conflicting_examples": _shown(conflicts),
        "patients": len(by_patient),
        "patients_in_two_own_splits": len(patients),
        "patient_examples": list(map(one_line, patients[:5])),
    }


def _shown(groups: Sequence[Sequence[Example]]) -> list[list[str]]:
    """The paths of the first five groups."""
    return [[one_line(example.path) for example in group] for group in groups[:5]]


def _audit_warnings(audit: Mapping) -> list[str]:
    if not audit["conflicting_labels"]:
        return []
    first = " = ".join(audit["conflicting_examples"][0][:2])
    return [
        f"{counted(audit['conflicting_labels'], 'image')} stand under two classes with the very same "
        f"content ({first}); remove the wrong copy"
    ]


def _leaking_groups(
    assigned: Sequence[Example], groups: Mapping[str, str]
) -> dict[str, list[Example]]:
    """Group -> its examples outside its best-protected split, for groups in two final splits."""
    leaks = {}
    for name, group in _by_group(assigned, groups).items():
        keeper = _keeper(group)
        outside = [example for example in group if example.split != keeper]
        if outside:
            leaks[name] = outside
    return leaks


def _keeper(group: Sequence[Example]) -> str:
    """Test before validation before train: what is measured on is never made smaller."""
    present = {example.split for example in group}
    return next(split for split in (TEST, VALIDATION, TRAIN) if split in present)


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
    found = (
        f"{counted(len(images), 'image')} of train or validation share a patient or their very "
        f"content with a split that is measured on ({some_of(image.path for image in images)})"
    )
    if on_leak == "fail":
        raise UserError(f"{found}; --on-leak drop leaves them out, --on-leak warn keeps them")
    if on_leak == "warn":
        warnings.append(f"{found}; --on-leak drop leaves them out")
        return {}
    keepers = {
        name: _keeper(group) for name, group in _by_group(assigned, groups).items() if name in leaks
    }
    return {
        example.path: f"shares a patient or its content with {keepers[name]} (--on-leak drop)"
        for name, group in leaks.items()
        for example in group
    }


def _by_group(examples: Sequence[Example], groups: Mapping[str, str]) -> dict[str, list[Example]]:
    members: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        members[groups[example.path]].append(example)
    return members


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
