"""Copies and leaks: equal files, near copies, and patients who stand in two splits."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from engine.images.image_folder import Example
from engine.inspection import perceptual_hash
from engine.inspection.image_table import ImageTable
from engine.inspection.perceptual_hash import NearPair


@dataclasses.dataclass(frozen=True)
class CopyGroup:
    """Images of equal contents, in the order of their paths."""

    images: tuple[Example, ...]

    @property
    def crosses_splits(self) -> bool:
        """Whether they stand in two splits."""
        return len({image.split for image in self.images}) > 1

    @property
    def crosses_classes(self) -> bool:
        """Whether they stand under two classes."""
        return len({image.class_name for image in self.images}) > 1


@dataclasses.dataclass(frozen=True)
class NearCopies:
    """Two images that look alike; see `perceptual_hash.NearPair`."""

    first: Example
    second: Example
    distance: int
    is_mirrored: bool

    @property
    def crosses_splits(self) -> bool:
        """Whether they stand in two splits."""
        return self.first.split != self.second.split

    @property
    def crosses_classes(self) -> bool:
        """Whether they stand under two classes."""
        return self.first.class_name != self.second.class_name

    @property
    def crosses_patients(self) -> bool:
        """Whether nothing says that they show one patient, so that a split drawn by patient may divide them."""
        return not self.first.patient or self.first.patient != self.second.patient


@dataclasses.dataclass(frozen=True)
class CopyFindings:
    """What was found.

    Attributes:
        exact: groups of equal images, those across splits first, then those across classes.
        near: pairs of near copies in the same order, and by distance; of equal images one alone takes
            part.
        blank: images without contrast, which were not compared.
        compared: pairs of images compared.
        is_cut: whether the search stopped at `perceptual_hash.MOST_PAIRS`.
        median_distance, by_chance: see `perceptual_hash.Search`.
        patients_in_splits: patient -> split -> images, of patients in two splits or more.
    """

    exact: tuple[CopyGroup, ...]
    near: tuple[NearCopies, ...]
    blank: tuple[Example, ...]
    compared: int
    is_cut: bool
    median_distance: float | None
    by_chance: float | None
    patients_in_splits: dict[str, dict[str, int]]

    @property
    def num_exact(self) -> int:
        """Images that could be removed, one of each group staying."""
        return sum(len(group.images) - 1 for group in self.exact)


def find(
    table: ImageTable, within: int, *, advance: Callable[[int], None] = lambda count: None
) -> CopyFindings:
    """Finds copies of either kind, and leaks across splits.

    Args:
        within: the largest distance of near copies.
        advance: told how many images were compared with all others; once for every image.
    """
    exact, representatives = _exact(table)
    compared = np.array([i for i in representatives if not table.is_blank[i]], np.int64)
    search = perceptual_hash.find_pairs(table.hashes[compared], within, advance=advance)
    advance(len(table) - len(compared))
    near = [_near(table.examples, compared, pair) for pair in search.pairs]
    near.sort(
        key=lambda pair: (
            not pair.crosses_splits,
            not pair.crosses_classes,
            not pair.crosses_patients,
            pair.distance,
        )
    )
    return CopyFindings(
        exact=exact,
        near=tuple(near),
        blank=tuple(
            example for example, blank in zip(table.examples, table.is_blank, strict=True) if blank
        ),
        compared=search.compared,
        is_cut=search.is_cut,
        median_distance=search.median,
        by_chance=search.by_chance,
        patients_in_splits=_patients_in_splits(table.examples),
    )


def _exact(table: ImageTable) -> tuple[tuple[CopyGroup, ...], list[int]]:
    """Groups of equal images; and the first image of each content, in order."""
    by_key: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(table.keys):
        by_key[key].append(place)
    groups = [
        CopyGroup(tuple(sorted((table.examples[i] for i in places), key=lambda one: one.path)))
        for places in by_key.values()
        if len(places) > 1
    ]
    groups.sort(key=lambda group: (not group.crosses_splits, not group.crosses_classes))
    return tuple(groups), sorted(places[0] for places in by_key.values())


def _near(examples: Sequence[Example], compared: np.ndarray, pair: NearPair) -> NearCopies:
    first, second = (examples[int(compared[place])] for place in (pair.first, pair.second))
    return NearCopies(first, second, pair.distance, pair.is_mirrored)


def _patients_in_splits(examples: Sequence[Example]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for example in examples:
        if example.patient:
            found[example.patient][example.split] += 1
    return {patient: dict(splits) for patient, splits in sorted(found.items()) if len(splits) > 1}
