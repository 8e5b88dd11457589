"""`python -m benchmarks.small_sets IMAGES`: the default training on a few images, against a tutorial's script.

Draws 32 images to train on, 10 to validate and 16 to test, half of each class, one per patient, several
times; trains the tutorial's script (`tutorial_script`) and the engine on each draw: 150 x 150, batches of 10,
10 epochs, everything else by default. 16 images say little, so both are measured on 500 more images
of other patients as well.
"""

import argparse
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.base import command_line, files, output_paths, progress
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser
from engine.base.setting_values import FIGURE_FORMATS
from engine.images import image_folder, patients
from engine.metrics import curves

PROGRAM = "python -m benchmarks.small_sets"
MARKER = ".made-by-small-sets"  # in a working directory: all of it may be replaced
_OWN_NAMES = re.compile(rf"{re.escape(MARKER)}|held-out|draw-\d+(-shards|-run)?")
COUNTS = {"train": 32, "val": 10, "test": 16}
HELD_OUT = 500
SETTINGS = {"global_batch_size": 10, "epochs": 10}
IMAGE_SIZE = 150
SCRIPT, ENGINE = "the tutorial's script", "the engine, by default"
FIGURES = {
    "test": "accuracy on 16 test images",
    "held_out": "accuracy on the held-out images",
    "auroc": "AUROC on the held-out images",
}


@dataclasses.dataclass(frozen=True)
class Draws:
    """Image folders of links: one per draw, and one with the images that all are measured on."""

    folders: tuple[Path, ...]
    held_out: Path


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("images", type=Path, metavar="IMAGES", help="the image folder")
    parser.add_argument(
        "--workdir",
        type=Path,
        default=Path("data/small-sets"),
        metavar="DIR",
        help="new, or of an earlier call, which is replaced",
    )
    parser.add_argument("--draws", type=int, default=10, metavar="N", help="(default: 10)")
    parser.add_argument("--held-out", type=int, default=HELD_OUT, metavar="N", help="images")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws")
    parser.add_argument("--no-script", action="store_true", help="measure the engine alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures there")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="also draw both on every draw (png, svg or pdf)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    workdir: Path = arguments.workdir
    if arguments.figure is not None:
        _require_figure(arguments.figure)
    draws = draw(
        arguments.images,
        workdir,
        draws=arguments.draws,
        held_out=arguments.held_out,
        seed=arguments.seed,
    )
    found: dict[str, list[dict[str, float]]] = {}
    if not arguments.no_script:
        found[SCRIPT] = list(by_script(draws))
    found[ENGINE] = list(by_engine(draws, workdir))
    if arguments.json is not None:
        described = {"seed": arguments.seed, "counts": COUNTS, "held_out": arguments.held_out}
        files.write_json(arguments.json, {**described, "figures": found})
    if arguments.figure is not None:
        draw_figure(found, arguments.figure)
    print("\n".join(table(found)))
    return command_line.DONE


def draw(images: Path, workdir: Path, *, draws: int, held_out: int, seed: int) -> Draws:
    """Links to images drawn at random: half of each class, and no patient twice in a draw.

    The patients of the held-out images are in no draw.

    Args:
        workdir: where they are made; what an earlier call left there is removed once all else is known
            to be right.

    Raises:
        UserError: there are not two classes, or too few patients of one; or `workdir` holds anything
            else, or the images, or lies among them.
    """
    require_replaceable(workdir, images)
    by_class = _one_per_patient(images, np.random.default_rng(seed))
    if len(by_class) != 2:
        raise UserError(f"{images}: got {len(by_class)} classes, expected 2")
    kept, taken = held_out // 2, sum(COUNTS.values()) // 2  # of each class
    for name, paths in by_class.items():
        if len(paths) < kept + taken:
            raise UserError(
                f"{images}: got images of {len(paths)} patients of the class {name}, expected "
                f"{kept + taken} or more"
            )
    _make_empty(workdir)
    folders = tuple(workdir / f"draw-{number}" for number in range(draws))
    for label, (name, paths) in enumerate(by_class.items()):
        _link(paths[:kept], workdir / "held-out" / name)
        for number, folder in enumerate(folders):
            random = np.random.default_rng([seed, number, label])
            chosen = random.choice(np.array(paths[kept:]), taken, replace=False)
            ends = np.cumsum(list(COUNTS.values())) // 2
            for split, part in zip(COUNTS, np.split(chosen, ends[:-1]), strict=True):
                _link(part, folder / split / name)
    return Draws(folders, workdir / "held-out")


def require_replaceable(workdir: Path, images: Path) -> None:
    """Checks that removing a directory loses nothing but what an earlier call made there.

    Raises:
        UserError: it would lose more, or links would be made among the images.
    """
    output_paths.require_directory(workdir, "--workdir")
    own, given = workdir.resolve(), images.resolve()
    if own.is_relative_to(given) or given.is_relative_to(own):
        raise UserError(
            f"--workdir {workdir}: lies among the images of {images}, or holds them; give another directory"
        )
    if not own.is_dir():
        return
    names = {path.name for path in own.iterdir()}
    others = sorted(name for name in names if not _OWN_NAMES.fullmatch(name))
    if others or (names and MARKER not in names):
        held = others[0] if others else "files that this command did not make"
        raise UserError(
            f"--workdir {workdir}: holds {held}; expected a new directory, or that of an earlier call"
        )


def _make_empty(workdir: Path) -> None:
    real = workdir.resolve()
    if real.is_dir():
        shutil.rmtree(real)
    real.mkdir(parents=True)
    (real / MARKER).write_text(f"Made, and replaced as a whole, by {PROGRAM}.\n", encoding="utf-8")


def _one_per_patient(images: Path, random: np.random.Generator) -> dict[str, list[Path]]:
    """For each class its images in random order, one of each patient, of whom no one is in two classes."""
    tree = image_folder.scan(images)
    examples, _ = patients.with_patients(tree.examples, "patient")
    order = random.permutation(len(examples))
    of_patient: dict[str, Any] = {}
    for example in (examples[place] for place in order):
        of_patient.setdefault(example.patient or example.path, example)
    return {
        name: [tree.root / one.path for one in of_patient.values() if one.class_name == name]
        for name in tree.class_names
    }


def _link(paths: Sequence[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in paths:
        (folder / path.name).symlink_to(path.resolve())


def by_script(draws: Draws) -> Iterator[dict[str, float]]:
    """Trains the tutorial's script on each draw, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tutorial_script"]
    places = [str(path) for path in (draws.held_out, *draws.folders)]
    with subprocess.Popen([*command, *places], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            labels, scores = np.array(found.pop("labels")), np.array(found.pop("scores"))
            yield _told(SCRIPT, {**found, "auroc": _auroc(labels, scores)})
    if process.returncode:
        raise RuntimeError(f"{SCRIPT} ended with status {process.returncode}")


def by_engine(draws: Draws, workdir: Path, **settings: Any) -> Iterator[dict[str, float]]:
    """Builds shards of each draw, trains on them and measures.

    Args:
        settings: of the training, instead of the defaults.
    """
    for seed, folder in enumerate(draws.folders):
        shards, run = workdir / f"{folder.name}-shards", workdir / f"{folder.name}-run"
        engine.build(folder, shards, image_size=IMAGE_SIZE)
        engine.train(shards, run, **{"seed": seed, **SETTINGS, **settings})
        accuracy = engine.evaluate(run, shards).metrics["accuracy"].value
        assert accuracy is not None  # undefined of an empty split alone
        found = engine.predict(run, draws.held_out)
        names = sorted(path.name for path in draws.held_out.iterdir())
        labels = np.array([names.index(one.path.parent.name) for one in found])
        right = [one.predicted == one.path.parent.name for one in found]
        scores = np.array([one.probability for one in found])
        yield _told(
            ENGINE,
            {"test": accuracy, "held_out": float(np.mean(right)), "auroc": _auroc(labels, scores)},
        )
        shutil.rmtree(run)


def _auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    area = curves.auroc(labels, scores)
    assert area is not None  # undefined of one class alone
    return area


def _told(name: str, figures: dict[str, float]) -> dict[str, float]:
    shown = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
    progress.say(f"{name}: {shown}")
    return figures


def table(found: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    """Markdown: mean over the draws, and their range."""
    lines = [f"| | {' | '.join(found)} |", "| --- |" + " ---: |" * len(found)]
    for figure, title in FIGURES.items():
        cells = []
        for rows in found.values():
            values = [row[figure] for row in rows]
            cells.append(f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines


def _require_figure(path: Path) -> None:
    if path.suffix not in [f".{each}" for each in FIGURE_FORMATS]:
        raise UserError(
            f"--figure {path}: expected a name that ends in one of {', '.join(FIGURE_FORMATS)}"
        )
    output_paths.require_file(path, "--figure")


def draw_figure(found: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    """Draws a row per draw, the dots of both joined, of accuracy and AUROC on the held-out images."""
    from engine.runs import figure_style as style

    rows = max(map(len, found.values()))
    figure = style.new_figure(9.6, 1.6 + 0.24 * rows)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key in zip(panels, ("held_out", "auroc"), strict=True):
        title = FIGURES[key]
        style.styled(axes, title=title[0].upper() + title[1:], xlabel=title.partition(" on ")[0])
        values = [[row[key] for row in each] for each in found.values()]
        for place, pair in enumerate(zip(*values, strict=False), start=1):
            axes.plot(pair, [place] * len(pair), color="#B8B8B8", linewidth=1.5, zorder=1)
        kinds = zip(found, values, (style.VERMILION, style.BLUE), "so", strict=False)
        for name, each, colour, marker in kinds:
            places = range(1, len(each) + 1)
            axes.scatter(each, places, color=colour, marker=marker, s=34, label=name, zorder=2)
        axes.set_ylim(rows + 0.7, 0.3)
        axes.set_yticks(range(1, rows + 1))
    panels[0].set_ylabel("draw", fontsize=9.5, color=style.INK)
    style.legend(panels[0], "upper left", anchor=(0, -0.14))
    style.save(figure, path)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
