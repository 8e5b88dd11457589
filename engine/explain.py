"""`python -m engine.explain RUN PATH...`: draws where in an image a run found what it predicts.

Each image is drawn beside a map of the evidence for its predicted class (or for --target), at its own
aspect and size. --method chooses how evidence is found; of an ensemble, the members' maps are averaged.
--filters and --feature-maps draw what the network has learned and what it makes of each image. PATHs are
files, folders (searched through) and quoted globs.

A map shows where a network looked, not that it looked at the right thing. What can be checked:
--sanity-check (maps must depend on the weights), --boxes (findings that are known) and --outside-body.
With one of these, figures are printed, and pictures are drawn only if --output is given. Not for diagnosis.
"""

import argparse
import sys
from pathlib import Path

from engine import api
from engine.base import callable_module, command_line, config, files, output_paths, progress
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.run_settings import ExplainConfig
from engine.explaining import request
from engine.images import boxes, image_files
from engine.runs import ensemble
from engine.runs.run_directory import RunDirectory

PROGRAM = "python -m engine.explain"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM, description=__doc__, usage=f"{PROGRAM} RUN [PATH ...] [flags]"
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="an image, a folder, or a glob in quotes"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where pictures go (default: RUN/explanations)"
    )
    config.add_flags(parser, ExplainConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 if no file could be read."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(ExplainConfig, arguments)
    _check_paths(arguments.paths, settings)
    run = ensemble.opened(arguments.run)
    request.check(run, settings)
    _check_is_one(run, settings)
    failures = image_files.Failures()
    found = image_files.require_files(arguments.paths, failures) if arguments.paths else iter(())
    known: dict[str, list[boxes.Box]] | None = None
    output = arguments.output or run.explanations
    draws = arguments.output is not None or not settings.measures
    writes = draws or settings.filters or settings.feature_maps
    if writes:
        output_paths.require_directory(output, "--output")
    if writes or settings.boxes is not None:
        paths = list(found)
        if writes:
            output_paths.require_holds_none(output, paths, "--output")
        if settings.boxes is not None:
            known = boxes.read(settings.boxes, [path.as_posix() for path in paths])
        found = iter(paths)
    if draws and (settings.boxes is not None or settings.outside_body):
        request.require_own_table(output)

    with command_line.quiet_imports():
        from engine.explaining import checks, explained_files, pictures

    explained = explained_files.ExplainedRun(run, settings)
    drawn = pictures.Pictures(
        explained,
        output,
        layer=settings.layer,
        scale=settings.scale,
        formats=settings.figures,
        max_pixels=settings.max_pixels,
        keeps_others=output != run.explanations,
    )
    if settings.filters:
        _print_row(arguments.run, drawn.kernels())
    if not arguments.paths:
        return command_line.DONE
    checked = checks.Checks(
        boxes=known,
        outside_body=settings.outside_body,
        sanity=settings.sanity_check,
        max_pixels=settings.max_pixels,
    )
    for batch in explained.explained(found, failures):
        for one in batch:
            checked.add(one)
            if draws:
                own = (known or {}).get(one.path.as_posix(), ())
                _print_row(one.path, drawn.evidence(one, own))
            if settings.feature_maps:
                for picture in drawn.feature_maps(one):
                    _print_row(one.path, picture)
    if settings.measures:
        print("\n".join(checked.lines(explained, seed=settings.seed)))
        if draws and checked.has_table:
            progress.say(f"places: {checked.write_table(output)}")
    return command_line.DONE


def _check_paths(paths: list[str], settings: ExplainConfig) -> None:
    image_files.check_paths(paths)
    others = settings.feature_maps or settings.measures
    if not paths and (others or not settings.filters):
        raise UserError(
            "PATH is missing; give images, folders or globs in quotes (--filters alone needs none)"
        )


def _check_is_one(run: RunDirectory, settings: ExplainConfig) -> None:
    asked = "--filters" if settings.filters else "--feature-maps" if settings.feature_maps else None
    if asked and run.members:
        raise UserError(
            f"{asked}: {run.path} stands for {len(run.members)} runs; give one of them, such as "
            f"{run.members[0].path}"
        )


def _print_row(path: Path, picture: Path) -> None:
    print(f"{files.one_line(path)}\t{files.one_line(picture)}", flush=True)


callable_module.make_callable(__name__, api.explain)

if __name__ == "__main__":
    sys.exit(main())
