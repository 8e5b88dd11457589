"""The warnings of an inspection: one line each, the most serious first."""

from collections.abc import Iterator, Sequence

from engine.base.files import one_line
from engine.base.wording import by_reason, counted, some_of
from engine.images import tree_audit
from engine.images.image_folder import Example
from engine.inspection.copies import NearCopies
from engine.inspection.inspection import Inspection
from engine.inspection.joint_shortcuts import JointProbe
from engine.inspection.shortcuts import Probe, notable

MOST_PROBES = 3  # of each kind that are warned of


def warnings(found: Inspection) -> Iterator[str]:
    """The lines."""
    yield from _leaks(found)
    yield from _conflicts(found)
    yield from _shortcuts(found)
    yield from _other_copies(found)
    yield from _unreadable(found)
    if found.suspects is not None and found.suspects.images:
        images = found.suspects.images
        yield (
            f"the run confidently disagrees with the labels of {counted(len(images), 'image')} of "
            f"{found.suspects.judged:,} ({some_of(one.example.path for one in images)}): look at them"
        )


def _leaks(found: Inspection) -> Iterator[str]:
    copies = found.copies
    if patients := copies.patients_in_splits:
        images = sum(sum(splits.values()) for splits in patients.values())
        yield (
            f"patients in two splits: {len(patients):,}, with {counted(images, 'image')} "
            f"({some_of(patients)}); engine.build_tfrecords --on-leak drop leaves them out"
        )
    exact = [group for group in copies.exact if group.crosses_splits]
    if exact:
        yield (
            f"images of the very same content in two splits: {len(exact):,} "
            f"({_equal(exact[0].images, 'split')}); engine.build_tfrecords --on-leak drop leaves them out"
        )
    near = [pair for pair in copies.near if pair.crosses_splits]
    if near:
        yield (
            f"pairs of near copies in two splits: {len(near):,} ({_alike(near[0])}); look at them, and "
            "remove the copies from training"
        )


def _conflicts(found: Inspection) -> Iterator[str]:
    exact = [group for group in found.copies.exact if group.crosses_classes]
    if exact:
        yield (
            f"images of the very same content under two classes: {len(exact):,} "
            f"({_equal(exact[0].images, 'class_name')}); one label is wrong"
        )
    near = [pair for pair in found.copies.near if pair.crosses_classes]
    if near:
        yield (
            f"pairs of near copies under two classes: {len(near):,} ({_alike(near[0])}); look at them"
        )


def _shortcuts(found: Inspection) -> Iterator[str]:
    for is_of_file, kind in ((True, "files"), (False, "pixels")):
        own = [probe for probe in notable(found.class_probes) if probe.is_of_file == is_of_file]
        joint = [probe for probe in found.joint_probes if probe.kind == kind and probe.is_notable]
        if own or joint:
            text = [_listed(own, found.class_names)] if own else []
            if joint:
                best = max(joint, key=lambda probe: probe.auroc.low or 0)
                text.append(
                    f"all {best.measures} together AUROC {figures(best)} on held-out images"
                )
            yield (
                f"single measures of the {kind} separate the classes: {', '.join(text)}; a network may use "
                "them instead of the disease"
            )
    if own := notable(found.split_probes):
        yield (
            f"splits differ, among images of one class: {_listed(own, tuple(found.counts))}; figures of "
            "one need not hold for the other"
        )


def _listed(probes: Sequence[Probe], names: Sequence[str]) -> str:
    """`width AUROC 0.93 (0.92 to 0.94), ...`, the strongest few."""
    several = len({probe.subject for probe in probes}) > 1 or len(names) > 2
    shown = [
        f"{probe.measure}{f' ({one_line(probe.subject)})' if several else ''} AUROC {figures(probe)}"
        for probe in probes[:MOST_PROBES]
    ]
    left = len(probes) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def figures(probe: Probe | JointProbe) -> str:
    """`0.93 (0.92 to 0.94)`."""
    estimate = probe.auroc
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _other_copies(found: Inspection) -> Iterator[str]:
    copies = found.copies
    if copies.is_cut:
        yield (
            f"more than {len(copies.near):,} pairs of near copies: the search stopped there; a smaller "
            "--near-distance finds only the nearest"
        )
    divided = [pair for pair in copies.near if pair.crosses_patients and not pair.crosses_splits]
    if divided:
        yield (
            f"pairs of near copies without a common patient ID: {len(divided):,} "
            f"({_alike(divided[0])}); a split by patient may divide them, so look at them, and remove "
            "the copies"
        )
    if copies.blank:
        yield (
            f"{counted(len(copies.blank), 'image')} without contrast "
            f"({some_of(one.path for one in copies.blank)})"
        )


def _unreadable(found: Inspection) -> Iterator[str]:
    if found.rejected:
        yield (
            f"{counted(len(found.rejected), 'file')} cannot be read ({some_of(found.rejected)}): "
            "engine.build_tfrecords leaves them out"
        )
    yield from by_reason(found.doubts)


def _equal(images: Sequence[Example], differ_in: str) -> str:
    shown = tree_audit.differing_first(images, differ_in)
    return " = ".join(one_line(image.path) for image in shown[:2])


def _alike(pair: NearCopies) -> str:
    return f"{one_line(pair.first.path)} ~ {one_line(pair.second.path)}"
