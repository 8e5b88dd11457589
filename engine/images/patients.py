"""Which patient an image shows, read from its path or, of DICOM files, from its header."""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from engine.base.config import UserError
from engine.base.files import one_line
from engine.images.image_folder import Example

# The public chest X-ray set. Names that share a number may be one patient twice (IM-0383 and
# NORMAL2-IM-0383, person5_bacteria and person5_virus): keeping them together can never leak.
PATIENT_PATTERNS = (
    r"^(?P<patient>person\d+)_(?:bacteria|virus)_\d+",
    r"^(?:NORMAL2-)?(?P<patient>IM-\d+)-\d+",
)


def with_patients(
    examples: Iterable[Example],
    group_by: str,
    known: Mapping[str, str] = MappingProxyType({}),
) -> tuple[tuple[Example, ...], list[str]]:
    """Fills in `patient`.

    Args:
        group_by: `patient` (what the file says, else the names of the public chest X-ray set),
            `none`, or a regular expression whose group `patient`, or else first group, is the id; it is searched for in
            the file name, and where that has no match in the whole relative path.
        known: path -> the patient that the file names itself, '' where it names none.

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
        dataclasses.replace(
            example,
            patient=(group_by == "patient" and known.get(example.path))
            or _patient_of(example.path, patterns),
        )
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
