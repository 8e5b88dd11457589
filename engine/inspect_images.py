"""`python -m engine.inspect_images IMAGES`: summarizes a set of images and what may be wrong with it.

IMAGES is a folder as engine.build_tfrecords takes it, or a directory of shards. Counts, sizes, kinds of
files, brightness; single measures that separate the classes, as shortcuts; images per patient;
copies, near copies and leaks across splits; files that cannot be read. With --run, labels that a trained
run confidently disagrees with. --html writes one page with figures and pictures.
"""

import argparse
import sys
from pathlib import Path

from engine.base import command_line, config, files
from engine.base.flag_parser import FlagParser
from engine.base.inspect_settings import InspectConfig
from engine.runs import outputs

PROGRAM = "python -m engine.inspect_images"
CONTENTS = {"html": "images, paths and patient IDs", "json": "paths and patient IDs"}


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "images", type=Path, metavar="IMAGES|SHARDS", help="an image folder, or shards of one"
    )
    parser.add_argument(
        "--run", type=Path, metavar="RUN", help="made by engine.train; lists labels that it doubts"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write one page with everything in it"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write everything that was found as JSON"
    )
    config.add_flags(parser, InspectConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(InspectConfig, arguments)
    for flag in CONTENTS:
        if (path := getattr(arguments, flag)) is not None:
            outputs.require_text_file(path, f"--{flag}")
    outputs.require_distinct({f"--{flag}": getattr(arguments, flag) for flag in CONTENTS})
    from engine.inspection import display, inspecting

    found = inspecting.inspect(
        arguments.images, settings, run=arguments.run, html=arguments.html, json=arguments.json
    )
    display.show(found)
    for flag, contents in CONTENTS.items():
        if (path := getattr(arguments, flag)) is not None:
            print(f"{flag}: {files.one_line(path)}")
            print(f"  contains {contents}: protect it as you protect the images")
    return command_line.DONE


if __name__ == "__main__":
    sys.exit(main())
