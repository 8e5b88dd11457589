"""What a build found out about its images, as numbers: how many were left out, are copies, or leak.

A manifest's audit names some files and patients too; what leaves the shards, in a run and its report, does not.
"""

from typing import Any

from engine.shards.manifest import Manifest

_COUNTS = (
    "patients",
    "patients_in_two_own_splits",
    "duplicate_images",
    "duplicates_across_own_splits",
    "conflicting_labels",
    "leaking_images",
    "dropped",
)
_OF_HOLD_OUT = ("split", "pattern", "images", "removed", "shared")


def describe(manifest: Manifest) -> dict[str, Any]:
    """The counts as JSON values; what a manifest of an earlier version lacks is left out.

    Returns:
        `source` (the image folder's name), `num_files`, `rejected` (files that cannot be read), the
        counts of the audit, and `hold_out` (split, pattern, images, removed, shared), if any were held
        out.
    """
    audit = manifest.audit
    found: dict[str, Any] = {
        "source": manifest.source.get("name"),
        "num_files": manifest.source.get("num_files"),
        "rejected": manifest.rejected,
        **{name: audit[name] for name in _COUNTS if name in audit},
    }
    if recipe := audit.get("hold_out"):
        found["hold_out"] = {name: recipe[name] for name in _OF_HOLD_OUT if name in recipe}
        found["hold_out"]["selection"] = (recipe.get("metadata") or {}).get("selection")
    return found
