"""`python -m engine.build_tfrecords IMAGES SHARDS`: builds TFRecord shards from an image folder.

IMAGES has a folder for each class, or train, val and test folders that have. Images are decoded,
resized and split by patient once; training then runs at the speed of memory. A build that was
stopped continues when it is run again with the same arguments, and a finished one is left alone.
"""

import argparse
import sys
import textwrap
from pathlib import Path

from engine.base import command_line, config
from engine.base.build_settings import BuildConfig
from engine.base.flag_parser import FlagParser
from engine.shards import builder, tfrecords
from engine.shards.builder import BuildResult
from engine.shards.tfrecords import Manifest

PROGRAM = "python -m engine.build_tfrecords"
WIDTH = 80


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the image folder")
    parser.add_argument("shards", type=Path, metavar="SHARDS", help="the directory to write")
    config.add_flags(parser, BuildConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(BuildConfig, arguments)
    result = builder.run(settings, arguments.images, arguments.shards)
    print(summary(result, arguments.shards, verified=settings.verify or settings.repair))
    return command_line.DONE


def summary(result: BuildResult, shards: Path, *, verified: bool = False) -> str:
    """What was built, found and warned of; the last line counts it."""
    manifest = result.manifest
    lines = [*split_table(manifest), "", *audit_lines(manifest)]
    lines += _wrapped("note", result.notes) + _wrapped("warning", manifest.warnings)
    return "\n".join([*lines, "", last_line(result, shards, verified=verified)])


def split_table(manifest: Manifest) -> list[str]:
    """Images of each class in each split, one line per split (or class, if they do not fit)."""
    splits = list(manifest.splits.items())
    header = ["split", *manifest.class_names, "images", "shards"]
    rows = [
        [
            split,
            *(f"{count:,}" for count in info.class_counts.values()),
            f"{info.num_examples:,}",
            f"{len(info.shards):,}",
        ]
        for split, info in splits
    ]
    lines = _aligned([header, *rows])
    if len(lines[0]) <= WIDTH:
        return lines
    return _aligned([list(column) for column in zip(header, *rows, strict=True)])


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def audit_lines(manifest: Manifest) -> list[str]:
    """What was found out about duplicates and patients, a line each."""
    audit = manifest.audit
    lines = [
        f"exact duplicates: {audit['duplicate_images']:,}, "
        f"{audit['duplicates_across_own_splits']:,} of them across the folders' own splits",
        f"identical images under two classes: {audit['conflicting_labels']:,}",
    ]
    if manifest.group_by != "none":
        lines.append(
            f"patients: {audit['patients']:,}, {audit['patients_in_two_own_splits']:,} of them in "
            "two of the folders' own splits"
        )
    if held := audit.get("hold_out"):
        lines.append(
            f"held out as {held['split']}: {held['images']:,} images; "
            f"{held['removed']:,} of their patients or copies left out"
        )
    left = audit["leaking_images"] - audit["dropped"]
    lines.append(
        f"images that share a patient or their content with another split now: {left:,}"
        + (f" ({audit['dropped']:,} dropped)" if audit["dropped"] else "")
    )
    return lines


def _wrapped(kind: str, texts: tuple[str, ...]) -> list[str]:
    """`warning: ...`, folded to the width of a terminal; paths and flags are never broken."""
    return [
        line
        for text in texts
        for line in textwrap.wrap(
            f"{kind}: {text}",
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def last_line(result: BuildResult, shards: Path, *, verified: bool) -> str:
    """`shards: 5,216 images in 6 shards, 0 left out, 900 images/s`."""
    manifest = result.manifest
    num_shards = sum(len(split.shards) for split in manifest.splits.values())
    parts = [
        f"{manifest.num_examples:,} images in {num_shards:,} shard{'s' * (num_shards != 1)}",
        f"{manifest.rejected:,} left out"
        + (f" (see {shards / tfrecords.REJECTED})" if manifest.rejected else ""),
    ]
    if result.num_decoded:
        parts.append(f"{result.num_decoded / result.seconds:,.0f} images/s")
    else:
        parts.append("complete already")
    if verified:
        parts.append("every shard verified")
    return f"{shards}: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
