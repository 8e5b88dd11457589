"""`python -m engine.demo_summary RUN`: how good and how fast a run was, in a few lines.

The last lines of `make demo`; reads what engine.train and engine.evaluate left in the run directory.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from engine.base import command_line, config
from engine.base.flag_parser import FlagParser
from engine.base.progress import format_duration
from engine.runs.run_directory import RunDirectory

PROGRAM = "python -m engine.demo_summary"
METRICS = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="made by engine.train")
    parser.add_argument("--split", default="test", metavar="NAME", help="an evaluated split")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    run = RunDirectory(arguments.run)
    run.require_trained()
    evaluation = run.evaluation(arguments.split)
    training = config.read_settings(run.training_summary)
    metrics = config.read_settings(evaluation / "metrics.json")
    print("\n".join(summary_lines(training, metrics, split=arguments.split)))
    print(f"pictures: {run.history_figure} and {evaluation}/*.png")
    print(f"report:   {run.report} (not for diagnosis)")
    return command_line.DONE


def summary_lines(training: dict[str, Any], metrics: dict[str, Any], *, split: str) -> list[str]:
    """The figures, one per line.

    Args:
        training: the contents of `training.json`.
        metrics: the contents of `metrics.json`; a metric it does not hold is left out.
    """
    lines = [f"trained:  {_speed(training)}"]
    for key, title in METRICS.items():
        if key in metrics:
            lines.append(f"{split} {title}: {_estimate(metrics[key])}")
    return lines


def _speed(training: dict[str, Any]) -> str:
    return (
        f"{training['images_per_second']:,.0f} images/s in training steps; "
        f"{training['epochs']} epochs in {format_duration(training['seconds'])}, "
        "with loading, validating and saving; "
        f"best {training['monitor']} {training['best_value']:.4f} in epoch {training['best_epoch']}"
    )


def _estimate(metric: dict[str, Any]) -> str:
    """`0.9731 (95 % interval 0.9612 to 0.9834)`."""
    if metric["value"] is None:
        return "undefined"
    if metric["low"] is None or metric["high"] is None:
        return f"{metric['value']:.4f}"
    return f"{metric['value']:.4f} (95 % interval {metric['low']:.4f} to {metric['high']:.4f})"


if __name__ == "__main__":
    sys.exit(main())
