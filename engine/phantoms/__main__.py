"""`python -m engine.phantoms DIR`: draws a folder of chest-like images, to try things out.

Grey chest-like images in Kaggle's layout, `train|val|test/NORMAL|PNEUMONIA`, with patient numbers in
their names and several images per patient. Pneumonia is soft opacities inside the lungs; the mean
brightness gives nothing away. The same flags give the same bytes. --boxes tells where the opacities
lie, for `engine.explain --boxes`.
"""

import argparse
import sys
from pathlib import Path

from engine.base import command_line, config, output_paths
from engine.base.build_settings import PhantomConfig
from engine.base.flag_parser import FlagParser
from engine.phantoms import opacity_boxes, phantom_folder
from engine.phantoms.phantom_folder import Phantom

PROGRAM = "python -m engine.phantoms"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("directory", type=Path, metavar="DIR", help="where the images go")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace phantoms of other settings in DIR"
    )
    parser.add_argument(
        "--boxes",
        type=Path,
        metavar="FILE.csv",
        help="also write where the opacities lie: path,x,y,width,height, one row per opacity",
    )
    config.add_flags(parser, PhantomConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(PhantomConfig, arguments)
    if arguments.boxes is not None:
        output_paths.require_file(arguments.boxes, "--boxes")
    made = phantom_folder.make_phantoms(
        settings, arguments.directory, overwrite=arguments.overwrite
    )
    if made is None:
        print(f"{arguments.directory}: complete already, nothing to do")
    else:
        print(f"{arguments.directory}: {summary(made)}")
    if arguments.boxes is not None:
        count = opacity_boxes.write(settings, arguments.boxes)
        print(f"{arguments.boxes}: boxes around {count:,} opacities")
    return command_line.DONE


def summary(phantoms: list[Phantom]) -> str:
    """`1,936 images of 967 patients (train 1,600, val 16, test 320), 60 % with pneumonia`."""
    splits = [phantom.path.partition("/")[0] for phantom in phantoms]
    counts = ", ".join(f"{split} {splits.count(split):,}" for split in dict.fromkeys(splits))
    patients = len({phantom.patient for phantom in phantoms})
    sick = sum(phantom.finding is not None for phantom in phantoms) / len(phantoms)
    return (
        f"{len(phantoms):,} images of {patients:,} patients ({counts}), {sick:.0%} with pneumonia"
    )


if __name__ == "__main__":
    sys.exit(main())
