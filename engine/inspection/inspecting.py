"""`inspect_images(path)`: looks at a set of images.

source (folder or shards) -> table of measurements -> counts, sizes, shortcuts, copies, leaks
   -> doubtful labels, if a run is given
"""

import dataclasses
import time
from pathlib import Path

from engine.base import files
from engine.base.config import UserError
from engine.base.inspect_settings import InspectConfig
from engine.base.progress import ProgressBar
from engine.inspection import (
    copies,
    findings,
    joint_shortcuts,
    shortcuts,
    sources,
    summaries,
    suspected_labels,
)
from engine.inspection.image_table import ImageTable
from engine.inspection.inspection import Inspection
from engine.inspection.sources import Source
from engine.runs.ensemble import Places

MANY_IMAGES = 20_000  # comparing fewer takes seconds, and needs no line of progress


def inspect_images(
    path: Path, settings: InspectConfig, *, run: Places | None = None
) -> tuple[Inspection, ImageTable, Source]:
    """Looks at all images of a folder or of shards.

    Args:
        run: a trained run, whose disagreement with labels is listed.

    Returns:
        The findings; and for figures and pictures the measurements, and where the images are.

    Raises:
        UserError: there are no images at the path, none can be read, or the run does not fit them; or
            `predictions` are set and there is no run.
    """
    started = time.monotonic()
    if run is None and settings.predictions != "auto":
        raise UserError(
            f"--predictions {settings.predictions}: --run is missing; give the run whose predictions are "
            "meant"
        )
    source = sources.opened(path, settings)
    checked = None if run is None else suspected_labels.checked_run(run, source, settings)
    table, rejected = source.read()
    if not len(table):
        first, reason = next(iter(rejected.items()), ("", "there is none"))
        raise UserError(
            f"{path}: none of {len(rejected):,} files can be read as an image "
            f"({files.one_line(first)}: {reason})"
        )
    with ProgressBar("comparing", total=len(table), lines=len(table) > MANY_IMAGES) as bar:
        found = copies.find(table, settings.near_distance, advance=bar.advance)
    suspects = None
    if checked is not None:
        suspects = suspected_labels.find(checked, source, table, settings)
    inspection = Inspection(
        path=path,
        kind=source.kind,
        fingerprint=source.fingerprint,
        class_names=table.class_names,
        counts=summaries.class_counts(table),
        groups=summaries.group_summaries(table),
        common_sizes=tuple(summaries.common_sizes(table)),
        kinds=summaries.kinds_of_files(table),
        grey_in_colour=summaries.grey_in_colour(table),
        constant=shortcuts.constant_measures(table),
        class_probes=shortcuts.between_classes(table),
        split_probes=shortcuts.between_splits(table),
        joint_probes=joint_shortcuts.between_classes(table),
        patients=summaries.patients(table),
        copies=found,
        rejected=rejected,
        doubts=table.doubts,
        suspects=suspects,
        notes=source.notes,
        warnings=(),
        settings=settings,
        seconds=time.monotonic() - started,
    )
    warnings = tuple(findings.warnings(inspection))
    return dataclasses.replace(inspection, warnings=warnings), table, source


def inspect(
    path: Path,
    settings: InspectConfig,
    *,
    run: Places | None = None,
    html: Path | None = None,
    json: Path | None = None,
) -> Inspection:
    """As `inspect_images`, and writes what is asked for.

    Args:
        html: where to write the page; `json`: the file of `Inspection.to_json`.
    """
    found, table, source = inspect_images(path, settings, run=run)
    if json is not None:
        files.write_json(json, found.to_json())
    if html is not None:
        from engine.inspection import page

        page.write(html, found, table, source)
    return found
