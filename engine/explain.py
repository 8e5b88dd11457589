"""`python -m engine.explain RUN PATH...`: draws where in an image a run found what it predicts.

Each image is drawn beside a Grad-CAM map of the evidence for its predicted class (or for --target),
from the network's last feature map (or from that of --layer); of an ensemble, the mean of its
members' maps. Paths are files, folders (searched through) and quoted globs. A map shows where a
network looked, not that it looked at the right thing. Not for diagnosis.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from engine.base import command_line, config, files, output_paths, progress
from engine.base.flag_parser import FlagParser
from engine.base.run_settings import ExplainConfig
from engine.base.setting_names import did_you_mean
from engine.images import image_files
from engine.runs import contract, ensemble

PROGRAM = "python -m engine.explain"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="an image, a folder, or a glob in quotes"
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
    image_files.check_paths(arguments.paths)
    with command_line.quiet_imports():
        from engine.inference import ensemble as predictors
        from engine.inference import explanation, prediction

    run = ensemble.opened(arguments.run)
    run.require_trained()
    names = contract.stored(run).class_names
    target = target_class(settings.target, names)
    failures = image_files.Failures()
    paths = image_files.require_files(arguments.paths, failures)
    output = arguments.output or run.explanations
    output_paths.require_directory(output, "--output")
    progress.say("loading TensorFlow and the model ...")
    predictor = predictors.load(run, batch_size=settings.batch_size, prevalence=settings.prevalence)
    explain = explanation.of_predictor(
        predictor, layer=settings.layer, default=explanation.named_layer(run)
    )
    batches = prediction.predicted_batches(predictor, paths, failures, settings, done="explained")
    taken: set[str] = set()
    for batch, outputs, predicted in batches:
        shown = predicted if target is None else np.full_like(predicted, target)
        evidence = explain(batch["image"], shown)
        for place, path in enumerate(batch["path"]):
            picture = output / free_name(path, taken)
            draw(
                picture,
                batch["image"][place],
                evidence[place],
                caption=_caption(names, outputs.probabilities[place], int(predicted[place])),
                subject=names[shown[place]],
            )
            print(f"{files.one_line(path)}\t{files.one_line(picture)}", flush=True)
    return command_line.DONE


def target_class(text: str, class_names: tuple[str, ...]) -> int | None:
    """The index of a class by name; None for `predicted`.

    Raises:
        UserError: no class has that name.
    """
    if text in class_names:
        return class_names.index(text)
    if text == "predicted":
        return None
    known = did_you_mean(text, ["predicted", *class_names])
    raise config.UserError(f"--target: no class is called {text!r}{known}")


def free_name(path: Path, taken: set[str]) -> str:
    """`name.png`, or `name-2.png` where an image of the same name was explained; marks it taken."""
    name, number = f"{path.stem}.png", 1
    while name in taken:
        number += 1
        name = f"{path.stem}-{number}.png"
    taken.add(name)
    return name


def draw(
    path: Path, image: np.ndarray, evidence: np.ndarray, *, caption: str, subject: str
) -> None:
    """Draws uint8[H, W, C] beside itself under its evidence, float[h, w]."""
    from engine.inference import explanation
    from engine.runs import plots

    pair = np.stack([explanation.as_rgb(image), explanation.overlay(image, evidence)])
    titles = [caption, f"evidence for {subject}"]
    plots.image_grid(pair, titles, path, columns=2, cell=3.2)


def _caption(names: tuple[str, ...], probability: np.ndarray, predicted: int) -> str:
    """The predicted class, and the probability: of two classes always the positive one's."""
    if np.ndim(probability):
        return f"{names[predicted]}, P = {probability[predicted]:.3f}"
    return f"{names[predicted]}, P({names[1]}) = {probability:.3f}"


if __name__ == "__main__":
    sys.exit(main())
