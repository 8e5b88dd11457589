"""What an image tree itself looks like, before any split is drawn: copies, and patients in two splits."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from engine.base.files import one_line
from engine.images.folder_contents import Contents
from engine.images.groups import content_key
from engine.images.image_folder import Example


def audit_tree(examples: Sequence[Example], contents: Contents) -> dict[str, Any]:
    """Counts of copies, of conflicting labels and of patients in two own splits, with a few names."""
    by_content: dict[str, list[Example]] = defaultdict(list)
    by_patient: dict[str, set[str]] = defaultdict(set)
    for example in examples:
        if digest := content_key(example.path, contents):
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
        "duplicates_across_examples": _shown(across, "split"),
        "conflicting_labels": len(conflicts),
        "conflicting_examples": _shown(conflicts, "class_name"),
        "patients": len(by_patient),
        "patients_in_two_own_splits": len(patients),
        "patient_examples": list(map(one_line, patients[:5])),
    }


def differing_first(group: Sequence[Example], attribute: str) -> list[Example]:
    """The first image of each value of an attribute, then all others: the first two show that values differ."""
    firsts: dict[str, Example] = {}
    for example in group:
        firsts.setdefault(getattr(example, attribute), example)
    shown = list(firsts.values())
    return [*shown, *(example for example in group if all(example is not one for one in shown))]


def _shown(groups: Sequence[Sequence[Example]], differ_in: str = "path") -> list[list[str]]:
    """The paths of the first five groups."""
    return [
        [one_line(example.path) for example in differing_first(group, differ_in)]
        for group in groups[:5]
    ]


def warnings(audit: Mapping[str, Any]) -> list[str]:
    """What of an audit the user should check."""
    if not audit["conflicting_labels"]:
        return []
    first = " = ".join(audit["conflicting_examples"][0][:2])
    return [
        f"images of the very same content under two classes: {audit['conflicting_labels']:,} ({first}); "
        "remove the wrong copy"
    ]
