"""`python -m benchmarks [SUITE ...]`: images/s of each stage, of training, and of other loaders.

Every figure is a median over runs that alternate with those they are compared with. Without --images
or --shards, phantoms are generated once and kept.
"""

import argparse
import functools
import importlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks.settings import BenchmarkConfig
from engine.base import command_line, config, output_paths, progress
from engine.base.flag_parser import FlagParser
from engine.base.setting_names import did_you_mean
from engine.images import image_folder
from engine.shards import dataset_checks, tfrecords

PROGRAM = "python -m benchmarks"
SUITES = {
    "build": "from image files to shards, compared with decoding alone",
    "input": "both tiers, NumPy and image_dataset_from_directory",
    "augment": "the fused augmentation, compared with Keras' layers in sequence",
    "step": "the training step alone: precision, XLA, batch size",
    "train": "training on real input, its limit, and the usual Keras 2 script",
    "latency": "prediction of one image and of batches",
    "scaling": "cost as the data grows, and with more workers and devices",
    "peers": "every other loader that is installed, on the same images",
    "accuracy": "minutes of training to a validation AUROC",
    "generalization": "settings on a held-out series, the own split and other places",
    "search": "a search of small models with one worker and with two",
}
DEFAULT_SUITES = ("input", "augment", "step", "train", "latency")


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    suites = "\n".join(f"  {name:15}{what}" for name, what in SUITES.items())
    parser = FlagParser(
        prog=PROGRAM,
        description=__doc__.partition("\n")[0],
        epilog=f"suites (default: {' '.join(DEFAULT_SUITES)}; all for all):\n{suites}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help="what to measure; see below")
    parser.add_argument("--images", type=Path, metavar="DIR", help="an image folder to measure on")
    parser.add_argument("--shards", type=Path, metavar="DIR", help="shards to measure on")
    parser.add_argument(
        "--workdir",
        type=Path,
        metavar="DIR",
        default=Path("data/benchmarks"),
        help="directory for phantoms, shards and packed data (default: data/benchmarks)",
    )
    parser.add_argument(
        "--candidates",
        type=Path,
        metavar="FILE.json",
        help="generalization: settings to compare, an object of name -> settings of engine.train",
    )
    parser.add_argument(
        "--external",
        type=Path,
        metavar="SHARDS",
        action="append",
        default=[],
        help="generalization: shards of another place to measure on; may be repeated",
    )
    parser.add_argument(
        "--strata",
        metavar="FILE.csv:COLUMN[,...]",
        help="generalization: strata of these, as for engine.evaluate",
    )
    parser.add_argument(
        "--json", type=Path, metavar="DIR", help="write SUITE.json for each suite into DIR"
    )
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw figures into DIR")
    config.add_flags(parser, BenchmarkConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments, argv))


def chosen_suites(names: list[str]) -> list[str]:
    """The requested suites, in the given order, without duplicates.

    Raises:
        UserError: there is no such suite.
    """
    if not names:
        return list(DEFAULT_SUITES)
    if names == ["all"]:
        return list(SUITES)
    for name in names:
        if name not in SUITES:
            raise config.UserError(f"no suite is called {name!r}{did_you_mean(name, list(SUITES))}")
    return list(dict.fromkeys(names))


def shown_command(argv: list[str]) -> str:
    """The command as results show it: of an absolute path only the last part."""
    parts = [Path(part).name if part.startswith("/") else part for part in argv]
    return shlex.join([*PROGRAM.split(), *parts])


def _run(arguments: argparse.Namespace, argv: list[str] | None) -> int:
    settings = config.from_flags(BenchmarkConfig, arguments)
    suites = chosen_suites(arguments.suites)
    _check_paths(arguments)
    with command_line.quiet_imports():
        from benchmarks import reports, workload
        from benchmarks.context import Context, Sources
        from engine.training import runtime

    @functools.cache
    def prepare() -> workload.Workload:
        return workload.prepare(
            images=arguments.images,
            shards=arguments.shards,
            workdir=arguments.workdir,
            image_size=settings.image_size,
            num_images=settings.phantoms,
            tell=progress.say,
        )

    sources = Sources(
        images=arguments.images,
        workdir=arguments.workdir,
        external=tuple(arguments.external),
        strata=arguments.strata,
        candidates=arguments.candidates,
    )
    command = shown_command(sys.argv[1:] if argv is None else argv)
    console = reports.make_console()
    finished = []
    for name in suites:
        report, busy = _measure(name, Context(prepare, settings, progress.say, sources))
        finished.append(report)
        reports.print_report(report, console)
        if busy["others_share_of_cores"] is not None:
            console.print(
                f"other processes used {busy['others_share_of_cores']:.0%} of the cores meanwhile"
            )
        if arguments.json is not None:
            context = {
                "command": command,
                "machine": runtime.describe_machine(),
                "data": report.data or prepare().describe(),
                "settings": settings.to_json(),
                "busy": busy,
            }
            progress.say(f"wrote {reports.write_json(report, arguments.json, context)}")
    if arguments.plots is not None:
        from benchmarks import figures

        for path in figures.draw(finished, arguments.plots, earlier=arguments.json):
            progress.say(f"drew {path}")
    return command_line.DONE


def _check_paths(arguments: argparse.Namespace) -> None:
    """Raises `UserError` unless images and shards can be read, and results be written."""
    for flag in ("workdir", "json", "plots"):
        if (path := getattr(arguments, flag)) is not None:
            output_paths.require_directory(path, f"--{flag}")
    if arguments.images is not None:
        image_folder.require_folder(arguments.images)
    if arguments.candidates is not None:
        config.read_settings(arguments.candidates)
    if arguments.shards is not None:
        dataset_checks.split_info(tfrecords.read_manifest(arguments.shards), "train")


def _measure(name: str, context: Any) -> tuple[Any, dict[str, Any]]:
    """A suite's report, and how busy other processes kept the machine meanwhile."""
    from benchmarks import process

    bystanders = process.Bystanders()
    report = importlib.import_module(f"benchmarks.suites.{name}").run(context)
    share = bystanders.share()
    return report, {
        "others_share_of_cores": None if share is None else round(share, 2),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


if __name__ == "__main__":
    sys.exit(main())
