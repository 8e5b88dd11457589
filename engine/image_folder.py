"""An image tree -> examples (path, class, split, patient), split so that nobody is on both sides.

`scan` reads the names, `hash_contents` the contents, `plan` decides which example goes into which
split and says what it found. None of them decodes an image: what is no image is found out later,
by its content. No TensorFlow.
"""

import dataclasses
import hashlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.config import UserError

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLIT_FOLDERS = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
PASSED_OVER = {
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "icon\r",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "lost+found",
}

SMALL_VALIDATION = 50  # images of a class; below it, an accuracy has an error of 6 points and more
DEFAULT_FRACTION = 0.1
LEAK_POLICIES = ("warn", "fail", "drop")

# The public chest X-ray set. Names that share a number may be one patient twice (IM-0383 and
# NORMAL2-IM-0383, person5_bacteria and person5_virus): keeping them together can never leak.
PATIENT_PATTERNS = (
    r"^(?P<patient>person\d+)_(?:bacteria|virus)_\d+",
    r"^(?:NORMAL2-)?(?P<patient>IM-\d+)-\d+",
)


@dataclasses.dataclass(frozen=True)
class Example:
    """One file.

    Attributes:
        path: relative to the image folder, with slashes.
        class_name: the class folder it lies in.
        split: `train`, `validation`, `test`, or '' where the tree has class folders only.
        patient: what splits keep together; '' where the name does not tell.
    """

    path: str
    class_name: str
    split: str
    patient: str = ""


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """A tree as it was found: every file below the class folders, sorted by path."""

    root: Path
    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits the tree itself has, in the order train, validation, test."""
        present = {example.split for example in self.examples}
        return tuple(split for split in (TRAIN, VALIDATION, TEST) if split in present)


@dataclasses.dataclass(frozen=True)
class Contents:
    """The SHA-256 (hex) of each file by path ('' unreadable), and one over all of them."""

    sha256: dict[str, str]
    empty: frozenset[str]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which example goes where.

    Attributes:
        splits: split -> examples in the order they are written: mixed by a seeded hash of the path.
        dropped: path -> why it was left out (`--on-leak drop`).
        audit: counts of what was found, with a few names of each.
        notes: what was decided, a line each; `warnings`: what the user should look at.
    """

    splits: dict[str, tuple[Example, ...]]
    dropped: dict[str, str]
    audit: dict
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


# ---------------------------------------------------------------------------- reading names


def scan(images: Path | str) -> ImageFolder:
    """Finds the files of an image tree by its layout.

    Layouts: `train|val|valid|validation|test` folders in any letter case, each with a folder per
    class; or class folders only. Folders inside a class folder belong to the class. A lone folder
    around either (as unpacking an archive leaves it) is stepped into. Hidden files and what
    operating systems leave lying about are passed over, and so are links to folders inside a class
    (they can form loops, or pull one class into another).

    Raises:
        UserError: there is no such folder, it has no class folders, only one class, or a class
            folder without a file.
    """
    root = Path(images)
    _require_folder(root)
    top, warnings = root, []
    if inner := _lone_wrapper(root):
        top = inner
        warnings.append(f"the images lie in the only folder, {inner.name}; reading that")
    split_folders = [one for one in _folders(top) if _is_split_folder(one)]
    class_folders = _class_folders(top, split_folders, warnings)
    if not class_folders:
        raise UserError(
            f"{root}: holds no class folders; expected {root.name}/CLASS/images or "
            f"{root.name}/train/CLASS/images"
        )
    names, spelling_warnings = _one_spelling(class_folders)
    examples = []
    for split, folder in class_folders:
        name = names[folder.name.casefold()]
        for path in _files_below(folder, warnings):
            examples.append(Example(path.relative_to(root).as_posix(), name, split))
    examples.sort(key=lambda example: example.path)
    class_names = tuple(sorted(set(names.values())))
    _require_classes(root, class_names, examples)
    warnings += spelling_warnings + _absent_classes(class_names, examples)
    return ImageFolder(root, tuple(examples), class_names, tuple(warnings))


def _require_folder(root: Path) -> None:
    if not root.exists():
        raise UserError(f"{root}: no such folder; expected a folder of images")
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder with one folder of images per class")
    try:
        if any(_visible(entry.name) for entry in os.scandir(root)):
            return
    except OSError as error:
        raise UserError(f"{root}: cannot be read ({error.strerror})") from error
    raise UserError(f"{root}: is empty; expected a folder with one folder of images per class")


def _visible(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in PASSED_OVER


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, links included, sorted."""
    return sorted(entry for entry in folder.iterdir() if _visible(entry.name) and entry.is_dir())


def _loose_files(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if _visible(entry.name) and entry.is_file())


def _is_split_folder(folder: Path) -> bool:
    """Named as a split, and with folders inside: a class may well be called `test`."""
    return folder.name.lower() in SPLIT_FOLDERS and bool(_folders(folder))


def _lone_wrapper(root: Path) -> Path | None:
    """The only folder in `root`, if the layout starts inside it."""
    folders = _folders(root)
    if len(folders) != 1 or _is_split_folder(folders[0]):
        return None
    inside = _folders(folders[0])
    wraps = len(inside) > 1 or any(_is_split_folder(one) for one in inside)
    return folders[0] if wraps and not _loose_files(folders[0]) else None


def _class_folders(
    top: Path, split_folders: Sequence[Path], warnings: list[str]
) -> list[tuple[str, Path]]:
    """(split or '', class folder) for each class folder of the tree."""
    _warn_of_loose_files(top, warnings)
    if not split_folders:
        return [("", folder) for folder in _folders(top)]
    found = []
    for folder in split_folders:
        _warn_of_loose_files(folder, warnings)
        found += [(SPLIT_FOLDERS[folder.name.lower()], one) for one in _folders(folder)]
    for folder in _folders(top):
        if folder not in split_folders:
            warnings.append(
                f"folder {folder.name} passed over, since it is no split folder as its neighbours"
            )
    return found


def _warn_of_loose_files(folder: Path, warnings: list[str]) -> None:
    loose = _loose_files(folder)
    if loose:
        warnings.append(
            f"{_count(len(loose), 'file')} in folder {folder.name} outside the class folders passed over "
            f"({_some(path.name for path in loose)})"
        )


def _one_spelling(
    class_folders: Sequence[tuple[str, Path]],
) -> tuple[dict[str, str], list[str]]:
    """Case-folded name -> the name of the class, as the first folder (train's, if any) spells it."""
    names: dict[str, str] = {}
    warnings = []
    order = {TRAIN: 0, VALIDATION: 1, TEST: 2}
    for _, folder in sorted(class_folders, key=lambda one: (order.get(one[0], 0), one[1].name)):
        try:
            folder.name.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{os.fsencode(folder)!r}: the name of a class must be UTF-8; rename the folder"
            ) from None
        name = names.setdefault(folder.name.casefold(), folder.name)
        if name != folder.name:
            warnings.append(
                f"class folder {folder.parent.name}/{folder.name} taken for class {name!r}, which it "
                "differs from in case only"
            )
    return names, warnings


def _files_below(folder: Path, warnings: list[str]) -> Iterator[Path]:
    """Every visible file in a folder and the folders in it; links to folders are not followed."""
    links = []

    def note(error: OSError) -> None:
        warnings.append(
            f"folder {Path(error.filename).name} cannot be read ({error.strerror}); passed over"
        )

    for where, folders, names in os.walk(folder, onerror=note):
        here = Path(where)
        folders[:] = sorted(name for name in folders if _visible(name))
        links += [here / name for name in folders if (here / name).is_symlink()]
        for name in names:
            if _visible(name):
                yield here / name
    if links:
        warnings.append(
            f"{_count(len(links), 'link')} to folders inside class {folder.name!r} not followed "
            f"({_some(link.name for link in links)})"
        )


def _require_classes(root: Path, class_names: Sequence[str], examples: Sequence[Example]) -> None:
    counts = Counter(example.class_name for example in examples)
    for name in class_names:
        if not counts[name]:
            raise UserError(
                f"{root}: class folder {name!r} holds no files; add images or remove the folder"
            )
    if len(class_names) < 2:
        raise UserError(
            f"{root}: holds only one class, {class_names[0]!r}; expected a folder for each of two "
            "classes or more"
        )


def _absent_classes(class_names: Sequence[str], examples: Sequence[Example]) -> list[str]:
    counts = Counter((example.split, example.class_name) for example in examples)
    splits = sorted({example.split for example in examples})
    return [
        f"the {split} folder has no images of class {name!r}"
        for split in splits
        for name in class_names
        if not counts[split, name]
    ]


# ---------------------------------------------------------------------------- reading contents


def hash_contents(folder: ImageFolder, *, workers: int) -> Contents:
    """Reads every file once, `workers` at a time (hashing lets go of the interpreter lock)."""
    paths = [example.path for example in folder.examples]
    with ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda path: _hash_file(folder.root / path), paths, chunksize=16))
    overall = hashlib.sha256()
    for path, (digest, _) in zip(paths, found, strict=True):
        overall.update(os.fsencode(path) + b"\0" + digest.encode() + b"\n")
    return Contents(
        sha256={path: digest for path, (digest, _) in zip(paths, found, strict=True)},
        empty=frozenset(path for path, (_, size) in zip(paths, found, strict=True) if not size),
        fingerprint=overall.hexdigest(),
    )


def _hash_file(path: Path) -> tuple[str, int]:
    """(SHA-256, size in bytes); ('', 0) if it cannot be read or is no regular file."""
    if not path.is_file():
        return "", 0
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb", buffering=0) as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    except OSError:
        return "", 0
    return digest.hexdigest(), size


# ---------------------------------------------------------------------------- patients


def with_patients(
    examples: Iterable[Example], group_by: str
) -> tuple[tuple[Example, ...], list[str]]:
    """Fills in `patient`.

    Args:
        group_by: `patient` (the names of the public chest X-ray set), `none`, or a regular
            expression whose group `patient`, or else first group, is the id; it is searched for in
            the file name, and where that has no match in the whole relative path.

    Returns:
        The examples, and warnings (how many names did not match: each is a group of its own).

    Raises:
        UserError: the expression does not compile, has no group, or matches no file at all.
    """
    examples = tuple(examples)
    if group_by == "none":
        return examples, []
    patterns = _patterns(group_by)
    found = [
        dataclasses.replace(example, patient=_patient_of(example.path, patterns))
        for example in examples
    ]
    unmatched = [example.path for example in found if not example.patient]
    if not unmatched:
        return tuple(found), []
    if len(unmatched) == len(found) and group_by != "patient":
        raise UserError(
            f"--group-by: got {group_by!r}, which matches none of {len(found):,} files "
            f"(as {unmatched[0]}); expected a regular expression with the patient's id in a group"
        )
    return tuple(found), [
        f"{len(unmatched):,} of {len(found):,} file names tell no patient "
        f"(as {Path(unmatched[0]).name}), so images of one patient may stand in two splits; "
        "--group-by REGEX says where the id is, --group-by none says there is none"
    ]


def _patterns(group_by: str) -> tuple[re.Pattern, ...]:
    if group_by == "patient":
        return tuple(re.compile(pattern) for pattern in PATIENT_PATTERNS)
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise UserError(
            f"--group-by: got {group_by!r}, which is no regular expression ({error}); "
            "expected patient, none or a regular expression as '^([0-9]+)_'"
        ) from None
    if not pattern.groups:
        raise UserError(
            f"--group-by: got {group_by!r}, a regular expression without a group; put brackets "
            "around the patient's id, as '^([0-9]+)_'"
        )
    return (pattern,)


def check_group_by(group_by: str) -> None:
    """Raises `UserError` unless `group_by` is `patient`, `none` or an expression with a group."""
    if group_by not in ("patient", "none"):
        _patterns(group_by)


def _patient_of(path: str, patterns: Sequence[re.Pattern]) -> str:
    for text in (path.rsplit("/", 1)[-1], path):
        for pattern in patterns:
            match = pattern.search(text)
            if match:
                named = "patient" in pattern.groupindex
                return (match["patient"] if named else match[1]) or ""
    return ""


# ---------------------------------------------------------------------------- splits


def plan(
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
    validation folder), else nothing is drawn. A validation fraction that is asked for puts the
    tree's validation folder back into the pool it is drawn from.

    Raises:
        UserError: a fraction is asked for that cannot be drawn, or `on_leak` is `fail` and a group
            stands in two splits.
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
                (one for one in kept if one.split == split), key=lambda one: _rank(seed, one.path)
            )
        )
        for split in (TRAIN, VALIDATION, TEST)
    }
    splits = {split: members for split, members in splits.items() if members}
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
    return "" if path in contents.empty else contents.sha256[path]


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
    counts = Counter(one.class_name for one in examples if one.split == VALIDATION)
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
        dataclasses.replace(one, split=drawn.get(groups[one.path], TRAIN))
        if one.split in pooled
        else one
        for one in examples
    ]


def _draw(
    members: Mapping[str, Sequence[Example]], fractions: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Group -> split, for the groups drawn; test is drawn first, so that it does not depend on
    how much validation was asked for."""
    sizes = {name: Counter(one.class_name for one in group) for name, group in members.items()}
    # Named by its content rather than by its listing: the first path is the same in any order.
    order = sorted(sizes, key=lambda name: _rank(seed, min(one.path for one in members[name])))
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
    across = [group for group in copies if len({one.split for one in group}) > 1]
    conflicts = [group for group in copies if len({one.class_name for one in group}) > 1]
    patients = sorted(name for name, splits in by_patient.items() if len(splits) > 1)
    return {
        "duplicate_images": sum(len(group) - 1 for group in copies),
        "duplicate_examples": [[one.path for one in group] for group in copies[:5]],
        "duplicates_across_own_splits": len(across),
        "duplicates_across_examples": [[one.path for one in group] for group in across[:5]],
        "conflicting_labels": len(conflicts),
        "conflicting_examples": [[one.path for one in group] for group in conflicts[:5]],
        "patients": len(by_patient),
        "patients_in_two_own_splits": len(patients),
        "patient_examples": patients[:5],
    }


def _audit_warnings(audit: Mapping) -> list[str]:
    if not audit["conflicting_labels"]:
        return []
    first = " = ".join(audit["conflicting_examples"][0][:2])
    return [
        f"{_count(audit['conflicting_labels'], 'image')} stand under two classes with the very same "
        f"content ({first}); remove the wrong copy"
    ]


def _leaking_groups(
    assigned: Sequence[Example], groups: Mapping[str, str]
) -> dict[str, list[Example]]:
    """Group -> its examples outside its best-protected split, for groups in two final splits."""
    leaks = {}
    for name, group in _by_group(assigned, groups).items():
        keeper = _keeper(group)
        outside = [one for one in group if one.split != keeper]
        if outside:
            leaks[name] = outside
    return leaks


def _keeper(group: Sequence[Example]) -> str:
    """Test before validation before train: what is measured on is never made smaller."""
    present = {one.split for one in group}
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
    images = [one for group in leaks.values() for one in group]
    found = (
        f"{_count(len(images), 'image')} of train or validation share a patient or their very "
        f"content with a split that is measured on ({_some(one.path for one in images)})"
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
        one.path: f"shares a patient or its content with {keepers[name]} (--on-leak drop)"
        for name, group in leaks.items()
        for one in group
    }


def _by_group(examples: Sequence[Example], groups: Mapping[str, str]) -> dict[str, list[Example]]:
    members: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        members[groups[example.path]].append(example)
    return members


def _small_validation(
    splits: Mapping[str, Sequence[Example]],
    class_names: Sequence[str],
    fractions: Mapping[str, float],
) -> list[str]:
    """A warning where validation is too small to choose a model by, with the flag that mends it."""
    if TRAIN not in splits:
        return []
    held = Counter(one.class_name for one in splits.get(VALIDATION, ()))
    name = min(class_names, key=lambda one: (held[one], one))
    if held[name] >= SMALL_VALIDATION:
        return []
    pool = held[name] + sum(one.class_name == name for one in splits[TRAIN])
    share = max(DEFAULT_FRACTION, -(-SMALL_VALIDATION * 100 // pool) / 100)
    cure = f"--validation-fraction {share:g} holds back enough of train"
    if share > 0.5:
        cure = "the folder has too few images for more, so read its figures with care"
    return [
        f"validation has {_count(held[name], 'image')} of class {name!r}, fewer than "
        f"{SMALL_VALIDATION}; {cure}"
    ]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _some(names: Iterable[str]) -> str:
    """The first three names."""
    names = list(names)
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
