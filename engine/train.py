"""`python -m engine.train SHARDS --workdir RUN`: trains a classifier on shards.

Ctrl-C and SIGTERM save the run after the current step; `--resume` continues it.
"""

import argparse
import functools
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

from engine import api
from engine.base import callable_module, command_line, progress
from engine.base.settings import TrainConfig
from engine.metrics.estimate import number_text
from engine.training import train_arguments

PROGRAM = "python -m engine.train"

Result = TypeVar("Result")


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    return train_arguments.build_parser(PROGRAM, __doc__)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = train_arguments.checked_settings(arguments)
    progress.say("loading TensorFlow ...")
    if arguments.preview_augmentation is not None:
        with command_line.quiet_imports(), command_line.without_scikit_learn():
            from engine.pipeline import preview

        preview.draw_preview(settings, arguments.shards, arguments.preview_augmentation)
        print(f"preview: {arguments.preview_augmentation}")
        return command_line.DONE
    if arguments.num_seeds is not None:
        return _train_seeds(arguments, settings)
    return _train(arguments, settings)


def _train_seeds(arguments: argparse.Namespace, settings: TrainConfig) -> int:
    with command_line.quiet_imports(), command_line.without_scikit_learn():
        from engine.training import seeds

    train = functools.partial(seeds.train_seeds, num_seeds=arguments.num_seeds)
    result, stop = _trained(train, arguments, settings)
    if result is None:
        return command_line.FAILED
    if result.stopped:
        return _stopped(arguments, stop)
    for place, auroc in zip(result.members, result.member_val_aurocs, strict=True):
        print(f"{place.name}: val_auroc {number_text(auroc)}")
    print(f"average of {len(result.members)} runs: val_auroc {number_text(result.val_auroc)}")
    _print_threshold(result.threshold, settings)
    print(f"run: {arguments.workdir}")
    return command_line.DONE


def _trained(
    train: Callable[..., Result], arguments: argparse.Namespace, settings: TrainConfig
) -> tuple[Result | None, command_line.StopFlag]:
    """What a training gives, stopped by signals after a step; None of one that diverged, which is said."""
    from engine.training.divergence import DivergenceError

    with command_line.StopFlag() as stop:
        try:
            result = train(
                settings,
                arguments.shards,
                arguments.workdir,
                resume=arguments.resume,
                overwrite=arguments.overwrite,
                should_stop=stop,
            )
        except DivergenceError as error:
            progress.say(f"{PROGRAM}: {error}")
            return None, stop
    return result, stop


def _train(arguments: argparse.Namespace, settings: TrainConfig) -> int:
    with command_line.quiet_imports(), command_line.without_scikit_learn():
        from engine.training import trainer

    train = functools.partial(trainer.train, diagnose=arguments.diagnose)
    result, stop = _trained(train, arguments, settings)
    if result is None:
        return command_line.FAILED
    if not result.is_chief and not result.stopped:
        return command_line.DONE
    if result.stopped:
        return _stopped(arguments, stop)
    print(
        f"best {result.monitor} {result.best_value:.4f} in epoch {result.best_epoch}; "
        f"{result.images_per_second:,.0f} images/s in training steps, "
        f"{progress.format_duration(result.seconds)} with loading, validating and saving"
    )
    if result.refitted is not None:
        print(result.refitted.described)
    _print_threshold(result.threshold, settings)
    if result.diagnosis is not None:
        print(result.diagnosis)
    print(f"run: {arguments.workdir}")
    return command_line.DONE


def _stopped(arguments: argparse.Namespace, stop: command_line.StopFlag) -> int:
    progress.say(f"stopped and saved; continue with --resume --workdir {arguments.workdir}")
    interrupted = stop.signal_number == signal.SIGINT
    return command_line.INTERRUPTED if interrupted else command_line.TERMINATED


def _print_threshold(threshold: float | None, settings: TrainConfig) -> None:
    if threshold is not None:
        print(f"decision threshold {threshold:.3f} ({settings.threshold}, on validation)")


callable_module.make_callable(__name__, api.train)

if __name__ == "__main__":
    sys.exit(main())
