"""An image tree -> examples: path, class, patient, and the tree's own split where it has one.

`scan` reads names alone. Files that are no images are detected later, by their content. No TensorFlow.
"""

import contextlib
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.base.config import UserError
from engine.base.files import one_line
from engine.base.wording import counted, some_of
from engine.images import source_file

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SAMPLED_FILES = 32
EXTERNAL = "external"  # what `--hold-out` forms beside a test split; no folder is called so
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

    def sampled_sizes(self) -> list[int]:
        """Sizes in bytes of some files, spread over the folder."""
        sizes = []
        for example in self.examples[:: 1 + len(self.examples) // SAMPLED_FILES]:
            with contextlib.suppress(source_file.DecodeError):
                sizes.append(source_file.file_size(self.root / example.path))
        return sizes

    @property
    def own_splits(self) -> tuple[str, ...]:
        """The splits the tree itself has, in the order train, validation, test."""
        present = {example.split for example in self.examples}
        return tuple(split for split in (TRAIN, VALIDATION, TEST) if split in present)


def scan(images: Path | str, *, for_training: bool = True) -> ImageFolder:
    """Finds the files of an image tree by its layout.

    Layouts: `train|val|valid|validation|test` folders in any letter case, each with a folder per
    class; or class folders only. Folders inside a class folder belong to the class. A lone folder
    around either (as unpacking an archive leaves it) is stepped into. Hidden files and what
    operating systems leave behind are skipped, and so are links to folders inside a class
    (they can form loops, or pull one class into another).

    A folder below a class folder that cannot be searched is warned of, and the others are read.

    Args:
        for_training: whether a lone class, or a class without a file, is an error rather than a
            warning.

    Raises:
        UserError: there is no such folder, it or a split folder cannot be read, it has no class
            folders, no file, only one class, or a class folder without a file.
    """
    root = Path(images)
    require_folder(root)
    top, warnings = root, []
    unreadable: dict[str, str] = {}
    if inner := _lone_wrapper(root):
        top = inner
        warnings.append(f"the images lie in the only folder, {one_line(inner.name)}; reading that")
    split_folders = [folder for folder in _folders(top) if _is_split_folder(folder)]
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
    try:
        _require_classes(root, class_names, examples, unreadable)
    except UserError as error:
        if for_training or not examples:
            raise
        warnings.append(f"cannot be trained on: {error}")
    warnings += spelling_warnings + _absent_classes(class_names, examples)
    if unreadable:
        why = "; rejected.csv says why" if for_training else ""
        warnings.append(
            f"{counted(len(unreadable), 'folder')} cannot be read, and what they hold is left out "
            f"({some_of(unreadable)}){why}"
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
    wraps = len(inside) > 1 or any(_is_split_folder(folder) for folder in inside)
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
        found += [
            (SPLIT_FOLDERS[folder.name.lower()], class_folder) for class_folder in _folders(folder)
        ]
    for folder in _folders(top):
        if folder not in split_folders:
            warnings.append(
                f"folder {one_line(folder.name)} skipped: it is no split folder like its neighbours"
            )
    return found


def _warn_of_loose_files(folder: Path, warnings: list[str]) -> None:
    loose = _loose_files(folder)
    if loose:
        warnings.append(
            f"{counted(len(loose), 'file')} in folder {one_line(folder.name)} skipped, outside the "
            f"class folders ({some_of(path.name for path in loose)})"
        )


def _one_spelling(
    class_folders: Sequence[tuple[str, Path]],
) -> tuple[dict[str, str], list[str]]:
    """Case-folded name -> the name of the class, as the first folder (train's, if any) spells it."""
    names: dict[str, str] = {}
    warnings = []
    order = {TRAIN: 0, VALIDATION: 1, TEST: 2}
    for _, folder in sorted(
        class_folders,
        key=lambda found_folder: (order.get(found_folder[0], 0), found_folder[1].name),
    ):
        try:
            folder.name.encode()
        except UnicodeEncodeError:
            raise UserError(
                f"{os.fsencode(folder)!r}: the name of a class must be UTF-8; rename the folder"
            ) from None
        name = names.setdefault(folder.name.casefold(), folder.name)
        if name != folder.name:
            warnings.append(
                f"class folder {one_line(f'{folder.parent.name}/{folder.name}')} joins class "
                f"{name!r}, from which it differs in case only"
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
