"""What can be checked of a run's maps over the images given, in lines to print and a table to keep."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from engine.base import files
from engine.base.csv_rows import CsvRows
from engine.explaining import localisation, sanity_check
from engine.explaining.explained_files import ExplainedRun, Explanation
from engine.explaining.localisation import Located, Rate
from engine.explaining.request import TABLE, TABLE_COLUMNS
from engine.images.boxes import Box
from engine.inference import explanation as methods

_LAYER_WIDTH = 40


class Checks:
    """Takes in explanations one by one; measures at the end.

    Args:
        boxes: path -> boxes around findings; None where that is not asked for.
        outside_body: whether to count the maps that are strongest outside the body.
        sanity: whether the weights are to be shuffled; keeps all images in memory.
        max_pixels: the largest image to decode; None for the decoder's own bound.
    """

    def __init__(
        self,
        *,
        boxes: Mapping[str, Sequence[Box]] | None = None,
        outside_body: bool = False,
        sanity: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        self._boxes, self._outside_body, self._sanity = boxes, outside_body, sanity
        self._max_pixels = max_pixels
        self._located: list[Located] = []
        self._pixels: list[np.ndarray] = []
        self._targets: list[str] = []

    def add(self, explanation: Explanation) -> None:
        """Takes in one image.

        Raises:
            UserError: its file cannot be read any more.
        """
        boxes = (self._boxes or {}).get(explanation.path.as_posix(), ())
        if boxes or self._outside_body:
            self._located.append(
                localisation.located(
                    explanation,
                    boxes=boxes,
                    with_body=self._outside_body,
                    max_pixels=self._max_pixels,
                )
            )
        if self._sanity:
            self._pixels.append(explanation.pixels)
            self._targets.append(explanation.target)

    def write_table(self, directory: Path) -> Path:
        """Writes `localisation.csv`: where each map is strongest, and what lies there."""
        text = io.StringIO(newline="")
        rows = CsvRows(text)
        rows.writerow(TABLE_COLUMNS)
        for one in self._located:
            place = ("", "") if one.place is None else (f"{side:.1f}" for side in one.place)
            known = (
                "" if found is None else int(found) for found in (one.in_box, one.outside_body)
            )
            rows.writerow([files.as_utf8(one.path), one.target, *place, *known])
        files.write_text(directory / TABLE, text.getvalue())
        return directory / TABLE

    @property
    def has_table(self) -> bool:
        """Whether places were sought."""
        return bool(self._located)

    def lines(self, explained: ExplainedRun, *, seed: int) -> list[str]:
        """What was found, at most 80 columns wide.

        Args:
            seed: of the shuffled weights.
        """
        lines = [f"method: {explained.explainer.name}"]
        if self._boxes is not None:
            lines += ["", *_in_boxes(localisation.rates_in_boxes(self._located))]
        if self._outside_body:
            lines += ["", *_outside_body(localisation.rates_outside_body(self._located))]
        if self._sanity:
            lines += ["", *self._sanity_lines(explained, seed)]
        return lines

    def _sanity_lines(self, explained: ExplainedRun, seed: int) -> list[str]:
        names = list(explained.class_names)
        found = sanity_check.check(
            explained.explainer,
            [one.model for one in methods.members_of(explained.predictor)],
            np.stack(self._pixels),
            np.array([names.index(target) for target in self._targets]),
            seed=seed,
            batch_size=explained.predictor.batch_size,
        )
        return sanity_lines(found)


def sanity_lines(found: sanity_check.SanityCheck | None) -> list[str]:
    """The steps of a sanity check, and whether the method passes."""
    if found is None:
        return ["sanity check: not possible, as no image has a map with any differences in it"]
    lines = [
        "sanity check: rank correlation with the trained network's maps, as layers are",
        f"made random from the classifier down ({found.num_images:,} images, {sanity_check.DRAWS} draws)",
        f"  {'random down to':{_LAYER_WIDTH}} {'layers':>6} {'mean':>7} {'5 % to 95 %':>16}",
    ]
    for level in found.levels:
        low, high = np.quantile(level.correlations, (0.05, 0.95))
        layer = (
            level.layer
            if len(level.layer) <= _LAYER_WIDTH
            else "…" + level.layer[-_LAYER_WIDTH + 1 :]
        )
        spread = f"{low:+.2f} to {high:+.2f}"
        lines.append(
            f"  {layer:{_LAYER_WIDTH}} {level.num_layers:6} {level.mean:+7.2f} {spread:>16}"
        )
    if found.num_images > 1:
        lines.append(f"  two different images, trained network: {found.between_images:+.2f}")
    if found.blank:
        lines.append(f"  left out: {found.blank:,} images whose maps are blank or flat")
    verdict, than = ("passes", "below") if found.passes else ("FAILS", "not below")
    lines.append(
        f"{verdict}: with all weights shuffled the mean is {found.levels[-1].mean:+.2f}, {than} {sanity_check.LIMIT}"
    )
    return lines


def _in_boxes(rates: Mapping[str, Rate]) -> list[str]:
    head = "strongest place in a box, by the class that the evidence is for"
    if not rates:
        return [head, "  no image with a box could be read"]
    return [head, *_table(rates, with_others=True)]


def _outside_body(rates: Mapping[str, Rate]) -> list[str]:
    head = "strongest place outside the body, by the class that the evidence is for"
    if not rates:
        return [head, "  no map has any evidence"]
    return [head, *_table(rates, with_others=False)]


def _table(rates: Mapping[str, Rate], *, with_others: bool) -> list[str]:
    """A row for each class, with what chance would give."""
    width = min(max([len("class"), *map(len, rates)]), 20)
    last = f" {'other image':>12}" if with_others else ""
    lines = [
        f"  {'class':{width}} {'images':>7} {'share':>7}  {'95 % interval':17} {'at random':>10}{last}"
    ]
    for name, rate in rates.items():
        low, high = rate.interval
        shown = name if len(name) <= width else name[: width - 1] + "…"
        interval = f"{low:.1%} to {high:.1%}"
        share = "-" if math.isnan(rate.of_others) else f"{rate.of_others:.1%}"
        others = f" {share:>12}" if with_others else ""
        lines.append(
            f"  {shown:{width}} {rate.count:7,} {rate.value:7.1%}  {interval:17} {rate.at_random:10.1%}{others}"
        )
    blank = sum(rate.blank for rate in rates.values())
    if blank:
        counted = "counted as missed" if with_others else "not counted"
        lines.append(f"  without any evidence, {counted}: {blank:,}")
    return lines
