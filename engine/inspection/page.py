"""An inspection as one self-contained HTML page: tables, figures and pictures.

It is written as Markdown first, with every name of a file, a class or a patient escaped.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine.base.files import one_line
from engine.base.wording import counted
from engine.images.image_folder import Example
from engine.inspection import display, figures, findings, page_lists, pictures
from engine.inspection.image_table import MEASURES, ImageTable
from engine.inspection.inspection import Inspection
from engine.inspection.page_lists import escaped, first_shown
from engine.inspection.page_pictures import PagePictures
from engine.inspection.sources import Source
from engine.runs import html_page, markdown

MOST_CLASSES = 24  # with sample images
PRIVACY = (
    "This page contains images, paths and patient IDs. Store and share it as you would the images "
    "themselves."
)


def write(path: Path, found: Inspection, table: ImageTable, source: Source) -> None:
    """Writes the page, whole or not at all."""
    with tempfile.TemporaryDirectory() as directory:
        page = _Page(found, table, PagePictures(Path(directory), source))
        name = one_line(os.path.basename(os.path.abspath(found.path)))  # noqa: PTH100, PTH119 (keeps links)
        html_page.write(path, page.text(), title=f"Images of {name}", base=Path(directory))


class _Page:
    """The sections; the lists are in `page_lists`."""

    def __init__(self, found: Inspection, table: ImageTable, drawn: PagePictures) -> None:
        self._found, self._table, self._pictures = found, table, drawn

    def text(self) -> str:
        """The page as Markdown, pictures relative to the directory."""
        sections = [
            self._head(),
            self._counts(),
            self._samples(),
            self._sizes(),
            self._tones(),
            self._class_probes(),
            self._split_probes(),
            self._patients(),
            page_lists.exact(self._found, self._pictures),
            page_lists.near(self._found, self._pictures),
            page_lists.suspects(self._found, self._pictures),
            page_lists.rejected(self._found),
            self._measures(),
        ]
        return "\n\n".join(section for section in sections if section) + "\n"

    def _head(self) -> str:
        found = self._found
        facts = markdown.facts(
            [
                (found.kind, escaped(str(found.path))),
                ("images", f"{found.num_images:,}"),
                ("cannot be read", f"{len(found.rejected):,}" if found.rejected else ""),
                ("fingerprint of the files", f"`{found.fingerprint[:16]}`"),
            ]
        )
        notes = "\n".join(f"- {escaped(note)}" for note in found.notes)
        warnings = "\n".join(f"- {escaped(warning)}" for warning in found.warnings)
        warned = f"## What to look at\n\n{warnings}" if warnings else ""
        parts = ["# Inspection of the images", facts, PRIVACY, notes, warned]
        return "\n\n".join(part for part in parts if part)

    def _counts(self) -> str:
        found = self._found
        splits = list(found.counts)
        rows = [
            [escaped(name), *(f"{found.counts[split][name]:,}" for split in splits)]
            for name in found.class_names
        ]
        rows.append(["all", *(f"{sum(found.counts[split].values()):,}" for split in splits)])
        heads = ["class", *(split or "images" for split in splits)]
        return f"## Images of each class\n\n{markdown.table(heads, rows)}"

    def _samples(self) -> str:
        parts = ["## Sample images"]
        names = [name for name in self._found.class_names if name in self._table.mean_images]
        for name in names[:MOST_CLASSES]:
            chosen = sampled(
                self._table.examples,
                name,
                seed=self._found.settings.seed,
                count=self._found.settings.samples,
            )
            sheet = self._pictures.sheet(
                f"samples of {name}", self._pictures.images_of(chosen), columns=6
            )
            listed = "From the left: " + ", ".join(escaped(one.path) for one in chosen)
            parts.append(
                f"### {escaped(name)}\n\n{sheet}\n\n{markdown.folded('their paths', listed)}"
            )
        if len(names) > MOST_CLASSES:
            parts.append(f"{len(names) - MOST_CLASSES:,} more classes are not shown.")
        return "\n\n".join([*parts, self._means(names[:MOST_CLASSES])])

    def _means(self, names: Sequence[str]) -> str:
        means = self._table.mean_images
        images = [pictures.grey_picture(means[name]) for name in names]
        text = (
            "What most images of a class share, such as marks, borders and framing, shows in the mean "
            f"of the class. From the left: {', '.join(map(escaped, names))}"
        )
        if len(names) == 2:
            one, other = names
            images.append(pictures.difference_picture(means[one], means[other]))
            text += (
                f"; and where {escaped(other)} is brighter (orange) or darker (blue) than "
                f"{escaped(one)}"
            )
        return f"### Mean images\n\n{text}.\n\n{self._pictures.sheet('mean images', images, columns=6)}"

    def _sizes(self) -> str:
        found = self._found
        if not any(group.sizes for group in found.groups):
            return ""
        heads = ["class", "split", "images", "width, pixels", "height, pixels", "width / height"]
        rows = [
            [
                escaped(group.class_name),
                group.split or display.UNDIVIDED,
                f"{group.images:,}",
                display.range_text(group.sizes.get("width"), ",.0f"),
                display.range_text(group.sizes.get("height"), ",.0f"),
                display.range_text(group.sizes.get("aspect ratio"), ".2f"),
            ]
            for group in found.groups
        ]
        kinds = [
            [category, escaped(value), *(f"{counts[name]:,}" for name in found.class_names)]
            for category, values in found.kinds.items()
            for value, counts in values.items()
        ]
        common = ", ".join(f"{size} ({count:,})" for size, count in found.common_sizes[:8])
        several = len(found.common_sizes) > 1
        parts = [
            "## Sizes and kinds of files",
            f"Mean (smallest to largest). {len(found.common_sizes):,} different sizes, the most "
            f"frequent: {common}."
            if several
            else f"All images are {found.common_sizes[0][0]}.",
            markdown.table(heads, rows, left=2),
            self._pictures.figure("sizes", lambda path: figures.sizes(self._table, path))
            if several
            else "",
            markdown.table(["file", "", *map(escaped, found.class_names)], kinds, left=2),
        ]
        alike, stored = found.grey_in_colour
        if alike:
            parts.append(
                f"Of {counted(stored, 'image')} stored in colour, {alike:,} contain only shades of grey: "
                "`--channels 1` loses nothing of these."
            )
        return "\n\n".join(part for part in parts if part)

    def _tones(self) -> str:
        figure = self._pictures.figure("tones", lambda path: figures.tones(self._table, path))
        return f"## Brightness and contrast\n\n{figure}"

    def _class_probes(self) -> str:
        text = (
            "Each measure alone is used as a classifier: an AUROC of 0.5 is chance, and 1 separates "
            "the classes without the content of the image. Intervals are over patients. A difference "
            "between the classes with another cause than the disease, such as another device, is a "
            "shortcut: a network that uses it fails elsewhere. Resizing removes width, height and "
            "file size, but not what depends on them, such as sharpness."
        )
        joint = "\n".join(f"- {escaped(line)}" for line in display.joint_lines(self._found))
        section = self._probes(
            "Single measures that separate the classes", text, self._found.class_probes, "class"
        )
        return f"{section}\n\n{joint}" if section and joint else section

    def _split_probes(self) -> str:
        text = (
            "The same between splits, among images of one class: where they differ, they were sampled "
            "differently, and figures of one split need not hold for the other."
        )
        return self._probes(
            "Single measures that separate the splits", text, self._found.split_probes, "split"
        )

    def _probes(self, title: str, text: str, probes: Sequence, head: str) -> str:
        if not probes:
            return ""
        figure = self._pictures.figure(
            title, lambda path: figures.probes(probes, path, title=title)
        )
        rows = [
            [
                escaped(probe.measure),
                f"{'more' if probe.is_higher else 'less'} in {escaped(probe.subject)}",
                findings.figures(probe),
                f"{probe.counts[0]:,} / {probe.counts[1]:,}",
            ]
            for probe in probes
        ]
        listed = markdown.table(
            ["measure", head, "AUROC (95 % interval)", "images / others"], rows, left=2
        )
        return f"## {title}\n\n{text}\n\n{figure}\n\n{markdown.folded('all figures', listed)}"

    def _patients(self) -> str:
        patients = self._found.patients
        if not patients.known:
            return ""
        rows = [
            [escaped(name), f"{count:,}", f"{mean:.2f}", f"{most:,}"]
            for name, (count, mean, most) in patients.per_patient.items()
        ]
        text = (
            f"{counted(patients.patients, 'patient')}; the patient of {patients.known:,} of "
            f"{patients.images:,} images is known. Patients with images of several classes: "
            f"{patients.in_several_classes:,}."
        )
        leaks = [
            [
                escaped(patient),
                ", ".join(f"{split} {count:,}" for split, count in splits.items()),
            ]
            for patient, splits in self._found.copies.patients_in_splits.items()
        ]
        parts = [
            "## Patients",
            text,
            markdown.table(["class", "patients", "images of one, mean", "most"], rows),
            self._pictures.figure(
                "images per patient",
                lambda path: figures.images_per_patient(patients.counts, path),
            ),
        ]
        if leaks:
            shown = leaks[: self._found.settings.shown]
            parts.append(
                f"### Patients in two splits\n\n{counted(len(leaks), 'patient')}"
                f"{first_shown(len(shown), len(leaks))}.\n\n"
                + markdown.table(["patient", "images"], shown, left=2)
            )
        return "\n\n".join(parts)

    def _measures(self) -> str:
        rows = [[name, text] for name, text in MEASURES.items()]
        listed = markdown.table(["measure", "what it is"], rows, left=2)
        return (
            "## How it was measured\n\nPixels are measured on the image as it is decoded for training, "
            f"stretched to 128 x 128.\n\n{markdown.folded('measures', listed)}"
        )


def sampled(
    examples: Sequence[Example], class_name: str, *, seed: int, count: int
) -> list[Example]:
    """Images of a class, drawn by the seed and their paths alone, in the order of their paths."""

    def rank(example: Example) -> bytes:
        return hashlib.sha256(f"{seed}\0".encode() + os.fsencode(example.path)).digest()

    own = [example for example in examples if example.class_name == class_name]
    return sorted(sorted(own, key=rank)[:count], key=lambda example: example.path)
