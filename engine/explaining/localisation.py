"""How often the strongest place of a map lies where it should: in a box around the finding, or in the body.

The pointing game (Zhang et al., Top-down neural attention by excitation backprop, 2016,
https://arxiv.org/abs/1608.00507), without their tolerance around the object: an image counts as hit if the
strongest place of its map lies in one of its boxes. A map without any evidence has no such place and counts as missed.

Boxes that cover much are hit by chance, and maps that always point at the middle hit what lies there. So two rates
stand beside it: that of a place drawn at random, and that of the strongest places of the other images' maps.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.base.config import UserError
from engine.base.files import one_line
from engine.explaining import body_mask, projection
from engine.explaining.explained_files import Explanation
from engine.images.boxes import Box
from engine.metrics import intervals

_GRID = 256  # rows and columns of the raster on which the boxes' area is counted

Place = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Located:
    """The strongest place of one image's map.

    Attributes:
        path: the image file.
        target: the class that the evidence is for.
        place: (x, y) in the file's pixels; None where there is no evidence.
        size: the file's (height, width).
        boxes: around the image's findings.
        body: where the body is, bool[h, w]; None where that was not asked for.
    """

    path: str
    target: str
    place: Place | None
    size: tuple[int, int]
    boxes: tuple[Box, ...] = ()
    body: np.ndarray | None = None

    @property
    def in_box(self) -> bool | None:
        """Whether it lies in a box; None of an image without boxes."""
        return self.holds(self.place) if self.boxes else None

    @property
    def outside_body(self) -> bool | None:
        """Whether it lies outside the body; None where that is not known."""
        if self.body is None or self.place is None:
            return None
        return not body_mask.contains(self.body, self.place, self.size)

    def holds(self, place: Place | None) -> bool:
        """Whether a place lies in one of the boxes."""
        return place is not None and any(box.contains(*place) for box in self.boxes)


@dataclasses.dataclass(frozen=True)
class Rate:
    """How many of some images' strongest places lie somewhere, and what chance would give.

    Attributes:
        hits, count: images.
        blank: images among them without evidence.
        at_random: the expected share of places drawn evenly over the image.
        of_others: the share of hits with the strongest place of another image; NaN of one image.
    """

    hits: int
    count: int
    blank: int
    at_random: float
    of_others: float

    @property
    def value(self) -> float:
        """The share of hits."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Clopper and Pearson, over images."""
        low, high = intervals.clopper_pearson(self.value, self.count)
        return float(low), float(high)


def located(
    explanation: Explanation,
    *,
    boxes: Sequence[Box] = (),
    with_body: bool = False,
    max_pixels: int | None = None,
) -> Located:
    """The strongest place of an explained file.

    Args:
        with_body: whether to find the body.

    Raises:
        UserError: the file cannot be read any more, or a box lies outside of it.
    """
    image = explanation.image(max_pixels=max_pixels)
    size = image.shape[:2]
    for box in boxes:
        _require_within(box, size, explanation.path)
    return Located(
        path=str(explanation.path),
        target=explanation.target,
        place=projection.strongest_place(explanation.evidence, explanation.image_format, size),
        size=size,
        boxes=tuple(boxes),
        body=body_mask.body_mask(image) if with_body else None,
    )


def _require_within(box: Box, size: tuple[int, int], path: Path) -> None:
    """Raises `UserError` for a box that no place of the image lies in: its numbers are of an image of
    another size, and every map would be counted as a miss."""
    height, width = size
    if box.x < width and box.y < height and box.x + box.width > 0 and box.y + box.height > 0:
        return
    numbers = ",".join(f"{number:g}" for number in (box.x, box.y, box.width, box.height))
    raise UserError(
        f"--boxes: the box {numbers} lies outside of {one_line(path)}, which is {width} x {height}; "
        "expected pixels of the image file"
    )


def rates_in_boxes(found: Sequence[Located]) -> dict[str, Rate]:
    """How often the strongest place lies in a box, by the class that the evidence is for.

    Images without boxes do not count.
    """
    rates = {}
    for target, images in _by_target([one for one in found if one.boxes]).items():
        rates[target] = Rate(
            hits=sum(one.holds(one.place) for one in images),
            count=len(images),
            blank=sum(one.place is None for one in images),
            at_random=float(np.mean([_covered(one) for one in images])),
            of_others=_hits_of_others(images),
        )
    return rates


def rates_outside_body(found: Sequence[Located]) -> dict[str, Rate]:
    """How often the strongest place lies outside the body, by the class that the evidence is for.

    Images without evidence do not count; `of_others` is not known.
    """
    rates = {}
    for target, images in _by_target([one for one in found if one.body is not None]).items():
        placed = [one for one in images if one.place is not None]
        if placed:
            rates[target] = Rate(
                hits=sum(bool(one.outside_body) for one in placed),
                count=len(placed),
                blank=len(images) - len(placed),
                at_random=float(np.mean([1 - _body(one).mean() for one in placed])),
                of_others=float("nan"),
            )
    return rates


def _by_target(found: Sequence[Located]) -> Mapping[str, list[Located]]:
    groups: dict[str, list[Located]] = {}
    for one in found:
        groups.setdefault(one.target, []).append(one)
    return groups


def _body(one: Located) -> np.ndarray:
    assert one.body is not None
    return one.body


def _covered(one: Located) -> float:
    """The share of an image that its boxes cover."""
    height, width = one.size
    x = (np.arange(_GRID)[None, :] + 0.5) * width / _GRID
    y = (np.arange(_GRID)[:, None] + 0.5) * height / _GRID
    covered: np.ndarray = np.zeros((_GRID, _GRID), bool)
    for box in one.boxes:
        covered |= _inside(box, x, y)
    return float(covered.mean())


def _hits_of_others(images: Sequence[Located]) -> float:
    """The share of pairs of two images in which the strongest place of one, as a share of its width and
    height, lies in a box of the other."""
    if len(images) < 2:
        return float("nan")
    placed = [one for one in images if one.place is not None]
    places = np.array([one.place for one in placed]).reshape(-1, 2)
    shares = places / np.array([one.size[::-1] for one in placed]).reshape(-1, 2)
    hits = 0
    for one in images:
        x, y = (shares * one.size[::-1]).T
        inside = np.any([_inside(box, x, y) for box in one.boxes], axis=0)
        hits += int(inside.sum()) - one.holds(one.place)
    return hits / (len(images) * (len(images) - 1))


def _inside(box: Box, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As `Box.contains`, of many places."""
    across = (box.x <= x) & (x < box.x + box.width)
    return np.asarray(across & (box.y <= y) & (y < box.y + box.height))
