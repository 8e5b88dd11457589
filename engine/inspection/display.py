"""An inspection on standard output: tables within 80 columns, and what to look at on the last lines."""

from collections.abc import Sequence

from engine.base import terminal_tables
from engine.base.files import one_line
from engine.base.terminal_tables import print_lines
from engine.base.wording import counted
from engine.inspection import findings
from engine.inspection.copies import CopyFindings
from engine.inspection.inspection import Inspection
from engine.inspection.shortcuts import Probe
from engine.inspection.summaries import Range

UNDIVIDED = "all"
MOST_CLASSES = 6  # whose counts fit side by side
MOST_SIZES = 3
MOST_ROWS = 40  # of a table by class; --html and --json have all


def show(found: Inspection) -> None:
    """Prints all of it."""
    _show_counts(found)
    _show_sizes(found)
    _show_tones(found)
    _show_kinds(found)
    _show_probes(
        "single measures that separate the classes",
        "class",
        found.class_probes,
        found.settings.shown,
    )
    print_lines(joint_lines(found))
    _show_probes(
        "single measures that separate the splits, within a class",
        "split",
        found.split_probes,
        found.settings.shown,
    )
    _show_patients(found)
    _show_copies(found.copies, found.settings.shown, found.settings.near_distance)
    _show_rejected(found)
    _show_suspects(found)
    print()
    print_lines(f"note: {note}" for note in found.notes)
    print_lines(f"warning: {warning}" for warning in found.warnings)
    rejected = f", {len(found.rejected):,} cannot be read" if found.rejected else ""
    print(f"{one_line(found.path)}: {counted(found.num_images, 'image')}{rejected}")


def _show_counts(found: Inspection) -> None:
    names = found.class_names
    if len(names) <= MOST_CLASSES:
        rows = [
            [split or UNDIVIDED, *(f"{counts[name]:,}" for name in names), _total(counts)]
            for split, counts in found.counts.items()
        ]
        _print_table(["split", *map(one_line, names), "images"], rows, title="images")
        return
    splits = list(found.counts)
    rows = [
        [one_line(name), *(f"{found.counts[split][name]:,}" for split in splits)] for name in names
    ]
    shown = _limited(rows)
    shown.append(["all", *(_total(found.counts[split]) for split in splits)])
    _print_table(["class", *(split or UNDIVIDED for split in splits)], shown, title="images")


def _print_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, title: str, left: int = 1
) -> None:
    """A table in which names wrap and numbers do not."""
    terminal_tables.print_table(heads, rows, title=title, left=left, first_wraps=True)


def _limited(rows: Sequence[list[str]]) -> list[list[str]]:
    """The first rows; a last one says how many more there are."""
    if len(rows) <= MOST_ROWS:
        return list(rows)
    more = [f"{len(rows) - MOST_ROWS:,} more", *[""] * (len(rows[0]) - 1)]
    return [*rows[:MOST_ROWS], more]


def _total(counts: dict[str, int]) -> str:
    return f"{sum(counts.values()):,}"


def _show_sizes(found: Inspection) -> None:
    if not any(group.sizes for group in found.groups):
        return
    rows = [
        [
            group.split or UNDIVIDED,
            one_line(group.class_name),
            range_text(group.sizes.get("width"), ",.0f"),
            range_text(group.sizes.get("height"), ",.0f"),
            range_text(group.sizes.get("aspect ratio"), ".2f"),
        ]
        for group in found.groups
    ]
    _print_table(
        ["split", "class", "width, pixels", "height, pixels", "width / height"],
        _limited(rows),
        title="sizes: mean (smallest to largest)",
        left=2,
    )
    if len(found.common_sizes) > 1:
        most = ", ".join(f"{size} ({count:,})" for size, count in found.common_sizes[:MOST_SIZES])
        print_lines([f"{len(found.common_sizes):,} different sizes, the most frequent {most}"])


def _show_tones(found: Inspection) -> None:
    rows = [
        [
            group.split or UNDIVIDED,
            one_line(group.class_name),
            range_text(group.pixels["brightness"], ".0f"),
            range_text(group.pixels["contrast"], ".0f"),
        ]
        for group in found.groups
    ]
    _print_table(
        ["split", "class", "brightness", "contrast"],
        _limited(rows),
        title="grey levels: mean (smallest to largest)",
        left=2,
    )


def range_text(values: Range | None, form: str) -> str:
    if values is None:
        return ""
    return f"{values.mean:{form}} ({values.low:{form}}-{values.high:{form}})"


def _show_kinds(found: Inspection) -> None:
    varying = {name: values for name, values in found.kinds.items() if len(values) > 1}
    several = len(found.class_names) <= MOST_CLASSES
    names = found.class_names if several else ()
    rows = [
        [category, value, *(f"{counts[name]:,}" for name in names), f"{sum(counts.values()):,}"]
        for category, values in varying.items()
        for value, counts in values.items()
    ]
    if rows:
        _print_table(
            ["files", "", *map(one_line, names), "images"], rows, title="kinds of files", left=2
        )
    if found.constant:
        print_lines([f"the same for all images: {', '.join(found.constant)}"])
    alike, stored = found.grey_in_colour
    if alike:
        print_lines(
            [
                f"of {counted(stored, 'image')} stored in colour, {alike:,} contain only shades of grey"
            ]
        )


def _show_probes(title: str, head: str, probes: Sequence[Probe], shown: int) -> None:
    if not probes:
        return
    rows = [
        [
            probe.measure,
            f"{'more' if probe.is_higher else 'less'} in {one_line(probe.subject)}",
            findings.figures(probe),
        ]
        for probe in probes[:shown]
    ]
    _print_table(["measure", head, "AUROC, 0.5 is good"], rows, title=title, left=2)
    if len(probes) > shown:
        print(f"{len(probes) - shown:,} more in --html and --json")


def joint_lines(found: Inspection) -> list[str]:
    """How well several measures together separate the classes: one line each."""
    several = len(found.class_names) > 2
    return [
        f"{probe.measures} measures of the {probe.kind} together"
        f"{f' separate {one_line(probe.subject)} from the rest' if several else ''}: AUROC {findings.figures(probe)} on "
        "held-out images"
        for probe in found.joint_probes[:MOST_ROWS]
    ]


def _show_patients(found: Inspection) -> None:
    patients = found.patients
    if not patients.known:
        return
    rows = [
        [one_line(name), f"{count:,}", f"{mean:.1f}", f"{most:,}"]
        for name, (count, mean, most) in patients.per_patient.items()
    ]
    heads = ["class", "patients", "images of one, mean", "most"]
    _print_table(heads, _limited(rows), title="patients")
    if patients.in_several_classes:
        print_lines(
            [f"{counted(patients.in_several_classes, 'patient')} with images of several classes"]
        )


def _show_copies(copies: CopyFindings, shown: int, within: int) -> None:
    rows = [
        [
            "equal files" if len(group.images) == 2 else f"{len(group.images)} equal files",
            "\n".join(one_line(image.path) for image in group.images[:shown]),
            marks(group.crosses_splits, group.crosses_classes),
        ]
        for group in copies.exact[:shown]
    ]
    rows += [
        [
            f"{counted(pair.distance, 'bit')}{', mirrored' if pair.is_mirrored else ''}",
            f"{one_line(pair.first.path)}\n{one_line(pair.second.path)}",
            marks(pair.crosses_splits, pair.crosses_classes, pair.crosses_patients),
        ]
        for pair in copies.near[:shown]
    ]
    if rows:
        _print_table(["copies", "images", "across"], rows, title="copies and near copies", left=3)
    print_lines([copies_text(copies, within)])


def copies_text(copies: CopyFindings, within: int) -> str:
    """How many copies there are, and how sure that is, in a sentence."""
    text = (
        f"{counted(copies.num_exact, 'exact copy').replace('copys', 'copies')}; {len(copies.near):,} of "
        f"{counted(copies.compared, 'pair')} are near copies (at most {within} of 255 bits differ"
    )
    if copies.median_distance is not None:
        text += f"; half of all pairs differ in {copies.median_distance:.0f} or more"
    if copies.by_chance is not None and copies.near:
        chance = "fewer than 0.1" if copies.by_chance < 0.1 else f"about {copies.by_chance:,.1f}"
        text += f"; {chance} pairs of unrelated images are expected among them"
    return text + ")"


def marks(splits: bool, classes: bool, patients: bool = False) -> str:
    marks = {"splits": splits, "classes": classes, "patients": patients}
    return ", ".join(mark for mark, is_so in marks.items() if is_so)


def _show_rejected(found: Inspection) -> None:
    if not found.rejected:
        return
    shown = list(found.rejected.items())[: found.settings.shown]
    rows = [[one_line(path), one_line(reason)] for path, reason in shown]
    _print_table(["file", "why"], rows, title="cannot be read", left=2)
    if len(found.rejected) > len(shown):
        print(f"{len(found.rejected) - len(shown):,} more in --html and --json")


def _show_suspects(found: Inspection) -> None:
    suspects = found.suspects
    if suspects is None:
        return
    rows = [
        [
            one_line(one.example.path),
            one_line(one.example.class_name),
            f"{one.of_label:.3f}",
            f"{one_line(one.suggested)} {one.probability:.3f}",
        ]
        for one in suspects.images[: found.settings.shown]
    ]
    if rows:
        heads = ["image", "label", "its probability", "class by the run"]
        _print_table(heads, rows, title="labels that the run doubts", left=2)
    print_lines([suspects_text(found)])


def suspects_text(found: Inspection) -> str:
    """How many labels are doubted, of how many, by which probabilities."""
    suspects = found.suspects
    assert suspects is not None
    text = (
        f"{counted(len(suspects.images), 'label')} doubted of {suspects.judged:,} that the run judged, of "
        f"{suspects.total:,} (probabilities {suspects.source})"
    )
    if suspects.were_trained_on:
        text += (
            "; they may include images that the run was trained on and whose labels it has memorized, so "
            "that wrong labels among them are missed"
        )
    return text
