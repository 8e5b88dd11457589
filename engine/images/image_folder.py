"""An image tree -> examples: path, class, patient, and the split of the tree's own if it has any.

`scan` and `with_patients` read the names, `hash_contents` the contents. None of them decodes an
image: what is no image is found out later, by its content. No TensorFlow.
"""

import contextlib
import dataclasses
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import google_crc32c

from engine.base.config import UserError
from engine.base.files import one_line
from engine.images import bit_depth, decoding

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
    """A tree as it was found: every file below the class folders, sorted by path.

    Attributes:
        unreadable: path, relative to the root, -> why that folder could not be searched.
    """

    root: Path
    examples: tuple[Example, ...]
    class_names: tuple[str, ...]
    warnings: tuple[str, ...]
    unreadable: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits the tree itself has, in the order train, validation, test."""
        present = {example.split for example in self.examples}
        return tuple(split for split in (TRAIN, VALIDATION, TEST) if split in present)


@dataclasses.dataclass(frozen=True)
class Contents:
    """What tells the files of a folder apart.

    Attributes:
        keys: by path; equal for files of equal contents alone ('' where empty or unreadable).
        empty: the paths of those that are empty or unreadable.
        fingerprint: a SHA-256 (hex) over all paths, sizes and CRC-32C.
        deep: the paths of those that may have more than 8 bits per pixel, in order.
    """

    keys: dict[str, str]
    empty: frozenset[str]
    fingerprint: str
    deep: tuple[str, ...] = ()


# ---------------------------------------------------------------------------- reading names


def scan(images: Path | str) -> ImageFolder:
    """Finds the files of an image tree by its layout.

    Layouts: `train|val|valid|validation|test` folders in any letter case, each with a folder per
    class; or class folders only. Folders inside a class folder belong to the class. A lone folder
    around either (as unpacking an archive leaves it) is stepped into. Hidden files and what
    operating systems leave lying about are passed over, and so are links to folders inside a class
    (they can form loops, or pull one class into another).

    A folder below a class folder that cannot be searched is warned of, and the others are read.

    Raises:
        UserError: there is no such folder, it or a split folder cannot be read, it has no class
            folders, only one class, or a class folder without a file.
    """
    root = Path(images)
    require_folder(root)
    top, warnings = root, []
    unreadable: dict[str, str] = {}
    if inner := _lone_wrapper(root):
        top = inner
        warnings.append(f"the images lie in the only folder, {one_line(inner.name)}; reading that")
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
        for path in _files_below(folder, root, unreadable, warnings):
            examples.append(Example(path.relative_to(root).as_posix(), name, split))
    examples.sort(key=lambda example: example.path)
    class_names = tuple(sorted(set(names.values())))
    _require_classes(root, class_names, examples, unreadable)
    warnings += spelling_warnings + _absent_classes(class_names, examples)
    if unreadable:
        warnings.append(
            f"{counted(len(unreadable), 'folder')} cannot be read, and what they hold is left out "
            f"({some_of(unreadable)}); rejected.csv says why"
        )
    return ImageFolder(root, tuple(examples), class_names, tuple(warnings), unreadable)


def require_folder(root: Path) -> None:
    """Raises `UserError` unless there is such a folder and something in it."""
    if not root.exists():
        raise UserError(f"{root}: no such folder; expected a folder of images")
    if not root.is_dir():
        raise UserError(f"{root}: is a file; expected a folder with one folder of images per class")
    if not _entries(root):
        raise UserError(f"{root}: is empty; expected a folder with one folder of images per class")


def is_visible(name: str) -> bool:
    """Whether a file or folder of that name is looked at: not hidden, and no operating system's clutter."""
    return not name.startswith(".") and name.lower() not in PASSED_OVER


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; not, where it leads to what must not be looked at."""
    return os.path.isdir(path)  # noqa: PTH112 (pathlib raises there, before Python 3.14)


def _entries(folder: Path) -> list[Path]:
    """What is visible in a folder, sorted."""
    try:
        return sorted(entry for entry in folder.iterdir() if is_visible(entry.name))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from error


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, links included, sorted."""
    return [entry for entry in _entries(folder) if is_folder(entry)]


def _loose_files(folder: Path) -> list[Path]:
    """What is no folder: files, and links that lead nowhere."""
    return [entry for entry in _entries(folder) if not is_folder(entry)]


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
                f"folder {one_line(folder.name)} passed over, since it is no split folder as its neighbours"
            )
    return found


def _warn_of_loose_files(folder: Path, warnings: list[str]) -> None:
    loose = _loose_files(folder)
    if loose:
        warnings.append(
            f"{counted(len(loose), 'file')} in folder {one_line(folder.name)} outside the class folders passed over "
            f"({some_of(path.name for path in loose)})"
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
                f"class folder {one_line(f'{folder.parent.name}/{folder.name}')} taken for class {name!r}, which it "
                "differs from in case only"
            )
    return names, warnings


def _files_below(
    folder: Path, root: Path, unreadable: dict[str, str], warnings: list[str]
) -> Iterator[Path]:
    """Every visible file in a folder and the folders in it; links to folders are not followed."""
    links = []

    def note(error: OSError) -> None:
        path = Path(error.filename).relative_to(root).as_posix()
        unreadable[path] = f"folder cannot be read ({error.strerror})"

    for where, folders, names in os.walk(folder, onerror=note):
        here = Path(where)
        folders[:] = sorted(name for name in folders if is_visible(name))
        links += [here / name for name in folders if os.path.islink(here / name)]  # noqa: PTH114 (as above)
        for name in names:
            if is_visible(name):
                yield here / name
    if links:
        warnings.append(
            f"{counted(len(links), 'link')} to folders inside class {folder.name!r} not followed "
            f"({some_of(link.name for link in links)})"
        )


def _require_classes(
    root: Path,
    class_names: Sequence[str],
    examples: Sequence[Example],
    unreadable: Mapping[str, str],
) -> None:
    counts = Counter(example.class_name for example in examples)
    for name in class_names:
        if not counts[name] and unreadable:
            raise UserError(
                f"{root}: no file of class {name!r} can be read ({some_of(unreadable)}: "
                f"{next(iter(unreadable.values()))}); allow reading, or remove the folder"
            )
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
    """Reads every file once, `workers` at a time; those that may be copies of one another, twice.

    Size and CRC-32C, which cost a twentieth of a SHA-256, tell files apart; where two agree in both,
    their SHA-256 decide.
    """
    paths = [example.path for example in folder.examples]
    root = str(folder.root)
    with ThreadPoolExecutor(workers) as pool:
        # By the batch: a task for each file costs as much as reading a small one.
        batches = [paths[start : start + 64] for start in range(0, len(paths), 64)]
        read = pool.map(lambda batch: [_look_at(f"{root}/{path}") for path in batch], batches)
        looks = dict(zip(paths, (one for batch in read for one in batch), strict=True))
        checksums = {path: checksum for path, (checksum, _) in looks.items()}
        counts = Counter(checksums.values())
        alike = [path for path in paths if checksums[path] and counts[checksums[path]] > 1]
        hashes = dict(
            zip(alike, pool.map(lambda path: _sha256(f"{root}/{path}"), alike), strict=True)
        )
    overall = hashlib.sha256()
    for path in paths:
        overall.update(os.fsencode(path) + b"\0" + checksums[path].encode() + b"\n")
    return Contents(
        keys={path: hashes.get(path, checksum) for path, checksum in checksums.items()},
        empty=frozenset(path for path, checksum in checksums.items() if not checksum),
        fingerprint=overall.hexdigest(),
        deep=tuple(path for path, (_, deep) in looks.items() if deep),
    )


def _look_at(path: str) -> tuple[str, bool]:
    """Size and CRC-32C, empty if the file is, cannot be read, or is no regular file; and whether it
    may have more than 8 bits per pixel."""
    crc, size, deep = 0, 0, False
    for block in _blocks(path):
        deep = deep or (not size and bit_depth.may_be_deep(block[:26]))
        crc = google_crc32c.extend(crc, block)
        size += len(block)
    return (f"{size}-{crc:08x}" if size else ""), deep


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: str) -> Iterator[bytes]:
    """The contents of a file that may be read; nothing of others, and from where it cannot be read on."""
    with contextlib.suppress(decoding.DecodeError), decoding.file_errors():
        if not decoding.file_size(path):
            return
        with open(path, "rb", buffering=0) as file:
            while block := file.read(1 << 20):
                yield block


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
            f"(for example {one_line(unmatched[0])}); "
            "expected a regular expression with the patient's ID in a group"
        )
    return tuple(found), [
        f"{len(unmatched):,} of {len(found):,} file names contain no patient ID "
        f"(for example {one_line(Path(unmatched[0]).name)}), so images of one patient may be in two splits; "
        "--group-by REGEX says where the ID is, --group-by none says there is none"
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


def counted(number: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def some_of(names: Iterable[str]) -> str:
    """The first three names, on one line."""
    names = list(names)
    return ", ".join(map(one_line, names[:3])) + (", ..." if len(names) > 3 else "")


def by_reason(rows: Iterable[tuple[str, str]]) -> list[str]:
    """(path, what is said of it) -> `2 images with values above 4,095 (a.png, b.png)`, a line for each
    different thing that is said."""
    paths: dict[str, list[str]] = {}
    for path, reason in rows:
        paths.setdefault(reason, []).append(path)
    return [
        f"{counted(len(names), 'image')} {reason} ({some_of(names)})"
        for reason, names in paths.items()
    ]
