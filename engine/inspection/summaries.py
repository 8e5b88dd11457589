"""Counts, sizes, kinds of files and patients of a set, by class and split."""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from engine.inspection.image_table import CATEGORIES, ImageTable

SIZE_MEASURES = ("width", "height", "aspect ratio")


@dataclasses.dataclass(frozen=True)
class Range:
    """Mean, smallest, median and largest of some values."""

    mean: float
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Range":
        """Of float64[N], N at least 1."""
        return cls(
            float(values.mean()), float(values.min()), float(np.median(values)), float(values.max())
        )


@dataclasses.dataclass(frozen=True)
class GroupSummary:
    """The images of one class in one split.

    Attributes:
        split: '' where the set is not divided.
        sizes: `width`, `height` and `aspect ratio`, where they are known.
        pixels: `brightness` and `contrast`.
    """

    split: str
    class_name: str
    images: int
    sizes: dict[str, Range]
    pixels: dict[str, Range]


@dataclasses.dataclass(frozen=True)
class PatientSummary:
    """How images are divided among patients.

    Attributes:
        known: images whose patient is known, of `images`.
        patients: how many different ones.
        per_patient: class -> (patients, mean and largest number of images of one).
        counts: images of one patient -> how many patients have so many.
        in_several_classes: patients with images of more than one class.
    """

    images: int
    known: int
    patients: int
    per_patient: dict[str, tuple[int, float, int]]
    counts: dict[int, int]
    in_several_classes: int


def class_counts(table: ImageTable) -> dict[str, dict[str, int]]:
    """Split -> class -> images that can be read, zeros included."""
    found = Counter((example.split, example.class_name) for example in table.examples)
    return {
        split: {name: found[split, name] for name in table.class_names} for split in table.splits
    }


def group_summaries(table: ImageTable) -> tuple[GroupSummary, ...]:
    """One of each class in each split that holds images of it."""
    labels, splits = table.labels, table.split_labels
    found = []
    for place, split in enumerate(table.splits):
        for label, name in enumerate(table.class_names):
            own = (splits == place) & (labels == label)
            if own.any():
                found.append(
                    GroupSummary(
                        split=split,
                        class_name=name,
                        images=int(own.sum()),
                        sizes=_ranges(table, own, SIZE_MEASURES),
                        pixels=_ranges(table, own, ("brightness", "contrast")),
                    )
                )
    return tuple(found)


def _ranges(table: ImageTable, own: np.ndarray, names: tuple[str, ...]) -> dict[str, Range]:
    found = {}
    for name in names:
        values = table.measures[name][own]
        if len(values := values[~np.isnan(values)]):
            found[name] = Range.of(values)
    return found


def kinds_of_files(table: ImageTable) -> dict[str, dict[str, dict[str, int]]]:
    """Category -> value -> class -> images; empty where nothing is known of the files."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for category in CATEGORIES:
        values = table.categories(category)
        counts = Counter(
            (value, example.class_name)
            for value, example in zip(values, table.examples, strict=True)
            if value
        )
        kinds = Counter(value for value in values if value)
        for value in sorted(kinds, key=lambda value: (-kinds[value], value)):
            of_class = {name: counts[value, name] for name in table.class_names}
            found.setdefault(category, {})[value] = of_class
    return found


def common_sizes(table: ImageTable) -> list[tuple[str, int]]:
    """`1024 x 768` -> images, the most frequent first."""
    sizes = Counter(
        f"{header.width} x {header.height}" for header in table.headers if header is not None
    )
    return sorted(sizes.items(), key=lambda item: (-item[1], item[0]))


def grey_in_colour(table: ImageTable) -> tuple[int, int]:
    """Of how many images stored in colour all channels are alike; and how many are stored in colour."""
    stored = np.array([mode.startswith("colour") for mode in table.categories("mode")], bool)
    alike = table.measures["colourfulness"] < 0.5
    return int((stored & alike).sum()), int(stored.sum())


def patients(table: ImageTable) -> PatientSummary:
    """How many images each patient has."""
    owners = [(one.patient, one.class_name) for one in table.examples if one.patient]
    per_patient = Counter(patient for patient, _ in owners)
    of_class: dict[str, Counter[str]] = {}
    for patient, name in owners:
        of_class.setdefault(name, Counter())[patient] += 1
    several = Counter(patient for counts in of_class.values() for patient in counts)
    return PatientSummary(
        images=len(table),
        known=len(owners),
        patients=len(per_patient),
        per_patient={
            name: (len(counts), counts.total() / len(counts), max(counts.values()))
            for name, counts in sorted(of_class.items())
        },
        counts=dict(sorted(Counter(per_patient.values()).items())),
        in_several_classes=sum(count > 1 for count in several.values()),
    )


def as_json(value: Any) -> Any:
    """Dataclasses, and containers of them, as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: as_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(one) for one in value]
    return value
