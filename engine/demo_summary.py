"""`python -m engine.demo_summary RUN`: sums up in a few lines how good and how fast a run was.

The last lines of `make demo`; reads what engine.train and engine.evaluate left in the run directory.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.base import command_line, config
from engine.base.flag_parser import FlagParser
from engine.base.progress import format_duration
from engine.base.wording import counted
from engine.runs.run_directory import RunDirectory

if TYPE_CHECKING:
    from engine.runs.evaluation_ranking import Measured

PROGRAM = "python -m engine.demo_summary"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "run", type=Path, metavar="RUN", help="made by engine.train, a run or an ensemble"
    )
    parser.add_argument("--split", default="test", metavar="NAME", help="an evaluated split")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    from engine.runs import ensemble, evaluation_ranking, stored_evaluations

    run = ensemble.opened(arguments.run)
    run.require_trained()
    stored_evaluations.read(run.evaluation(arguments.split))
    if run.members:
        trained = ensemble_lines({member.path.name: _training(member) for member in run.members})
    else:
        trained = training_lines(_training(run))
    ranking = evaluation_ranking.ranked(run)
    print("\n".join([*trained, *result_lines(ranking, arguments.split)]))
    shown = ranking[0].name if ranking[0].leads else arguments.split
    history = "" if run.members else f"{run.history_figure} and "
    print(f"pictures: {history}{run.evaluation(shown)}/*.png")
    print(f"report:   {run.report} (not for diagnosis)")
    return command_line.DONE


def result_lines(ranking: "Sequence[Measured]", split: str) -> list[str]:
    """How good a run is on the hardest unseen set, then one line for each other set.

    Args:
        ranking: see `engine.runs.evaluation_ranking.ranked`.
        split: the evaluation to show where none is of unseen examples.
    """
    from engine.runs import evaluation_ranking

    named = [each for each in ranking if each.name == split]
    first = ranking[0] if ranking[0].leads else named[0]
    lines = []
    if first.leads:
        lines.append(f"hardest set measured: {first.title}, {first.relation.value}")
    lines += first.result.summary_lines() if first.result else []
    for other in ranking:
        if other is not first and other.result is not None:
            lines.append(f"{other.title}: AUROC {other.result.metrics['auroc'].value_text}")
    if evaluation_ranking.only_own(ranking):
        lines += [
            "measured on the run's own data set alone: nothing is known of images from",
            "other places (engine.evaluate RUN OTHER_SHARDS --name NAME measures them)",
        ]
    return lines


def training_lines(training: dict[str, Any]) -> list[str]:
    """How fast and how long a run was trained, from the contents of `training.json`."""
    return [
        f"trained:  {training['images_per_second']:,.0f} images/s in training steps",
        f"          {counted(training['epochs'], 'epoch')} in {format_duration(training['seconds'])}, "
        "with loading, validating and saving",
        f"          {_best(training)}",
    ]


def ensemble_lines(trainings: Mapping[str, dict[str, Any]]) -> list[str]:
    """How long the runs of an ensemble were trained, and the best epoch of each.

    Args:
        trainings: the name of each run, and the contents of its `training.json`.
    """
    epochs = sum(training["epochs"] for training in trainings.values())
    seconds = sum(training["seconds"] for training in trainings.values())
    return [
        f"trained:  {len(trainings)} runs, {epochs} epochs in {format_duration(seconds)}",
        *(f"          {name}: {_best(training)}" for name, training in trainings.items()),
    ]


def _best(training: Mapping[str, Any]) -> str:
    return (
        f"best {training['monitor']} {training['best_value']:.4f} in epoch {training['best_epoch']}"
    )


def _training(run: RunDirectory) -> dict[str, Any]:
    return config.read_settings(run.training_summary)


if __name__ == "__main__":
    sys.exit(main())
