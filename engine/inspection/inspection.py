"""Everything that is found out about a set of images, as one object, and as JSON."""

import dataclasses
from pathlib import Path
from typing import Any

from engine.base import files
from engine.base.inspect_settings import InspectConfig
from engine.inspection import summaries
from engine.inspection.copies import CopyFindings
from engine.inspection.joint_shortcuts import JointProbe
from engine.inspection.shortcuts import Probe
from engine.inspection.summaries import GroupSummary, PatientSummary
from engine.inspection.suspected_labels import Suspects


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What was found out about a set of images.

    Attributes:
        path: as it was given; `kind`: `image folder` or `shards`.
        fingerprint: over the image files.
        class_names: sorted, classes without images included.
        counts: split ('' where the set is not divided) -> class -> images that can be read.
        groups: sizes, brightness and contrast of each class in each split.
        common_sizes: `1024 x 768` -> images, the most frequent first.
        kinds: `format`, `mode`, ... -> value -> class -> images.
        grey_in_colour: images stored in colour whose channels are alike, and images stored in colour.
        constant: measures that are the same for all images.
        class_probes, split_probes: single measures that separate classes, or splits; the strongest first.
        joint_probes: how well all measures of files, or of pixels, together separate the classes.
        patients: images per patient.
        copies: exact and near copies, and leaks across splits.
        rejected: path -> why it cannot be read.
        doubts: (path, what may have been misread).
        suspects: doubtful labels; None without a run.
        notes: what was noted of the folder or shards; `warnings`: what a user should look at.
        seconds: how long it took.
    """

    path: Path
    kind: str
    fingerprint: str
    class_names: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    groups: tuple[GroupSummary, ...]
    common_sizes: tuple[tuple[str, int], ...]
    kinds: dict[str, dict[str, dict[str, int]]]
    grey_in_colour: tuple[int, int]
    constant: tuple[str, ...]
    class_probes: tuple[Probe, ...]
    split_probes: tuple[Probe, ...]
    joint_probes: tuple[JointProbe, ...]
    patients: PatientSummary
    copies: CopyFindings
    rejected: dict[str, str]
    doubts: tuple[tuple[str, str], ...]
    suspects: Suspects | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    settings: InspectConfig
    seconds: float

    @property
    def num_images(self) -> int:
        """Images that can be read."""
        return sum(sum(counts.values()) for counts in self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values; paths that are not UTF-8 are escaped."""
        values = summaries.as_json(self)
        values["path"] = str(self.path)
        for name in ("class_probes", "split_probes", "joint_probes"):
            values[name] = [probe.to_json() for probe in getattr(self, name)]
        return _encodable(values)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return files.as_utf8(value)
    if isinstance(value, dict):
        return {files.as_utf8(key): _encodable(one) for key, one in value.items()}
    return [_encodable(one) for one in value] if isinstance(value, list) else value
