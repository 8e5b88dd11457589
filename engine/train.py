"""`python -m engine.train SHARDS --workdir RUN`: trains a classifier on shards.

Ctrl-C and SIGTERM save the run after the step in hand; `--resume` goes on with it.
"""

import argparse
import signal
import sys
from pathlib import Path

from engine import command_line, config, progress
from engine.settings import TrainConfig

PROGRAM = "python -m engine.train"


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument(
        "shards", type=Path, metavar="SHARDS", help="made by engine.build_tfrecords"
    )
    parser.add_argument("--workdir", type=Path, metavar="RUN", help="where the run's files go")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --workdir")
    parser.add_argument(
        "--overwrite", action="store_true", help="remove the run in --workdir first"
    )
    parser.add_argument(
        "--preview-augmentation",
        type=Path,
        metavar="FILE.png",
        help="draw what the network would see, and train nothing",
    )
    parser.add_argument(
        "--diagnose",
        action="store_true",
        help="when done, measure whether input or step limited the speed, and say what to do",
    )
    config.add_flags(parser, TrainConfig)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    settings = config.from_flags(TrainConfig, arguments)
    if arguments.preview_augmentation is not None:
        with command_line.quiet_imports():
            from engine import preview

        preview.draw_preview(settings, arguments.shards, arguments.preview_augmentation)
        print(f"preview: {arguments.preview_augmentation}")
        return command_line.DONE
    if arguments.workdir is None:
        raise config.UserError("--workdir RUN is missing; say where the run's files go")
    return _train(arguments, settings)


def _train(arguments: argparse.Namespace, settings: TrainConfig) -> int:
    with command_line.quiet_imports():
        from engine import trainer

    with command_line.StopFlag() as stop:
        try:
            result = trainer.train(
                settings,
                arguments.shards,
                arguments.workdir,
                resume=arguments.resume,
                overwrite=arguments.overwrite,
                diagnose=arguments.diagnose,
                should_stop=stop,
            )
        except trainer.DivergenceError as error:
            progress.say(f"{PROGRAM}: {error}")
            return command_line.FAILED
    if not result.is_chief and not result.stopped:
        return command_line.DONE
    if result.stopped:
        progress.say(f"stopped and saved; go on with --resume --workdir {arguments.workdir}")
        interrupted = stop.signal_number == signal.SIGINT
        return command_line.INTERRUPTED if interrupted else command_line.TERMINATED
    print(
        f"best {result.monitor} {result.best_value:.4f} in epoch {result.best_epoch}; "
        f"{result.images_per_second:,.0f} images/s in training steps, "
        f"{progress.format_duration(result.seconds)} with loading, validating and saving"
    )
    if result.threshold is not None:
        print(f"decision threshold {result.threshold:.3f} ({settings.threshold}, on validation)")
    if result.diagnosis is not None:
        print(result.diagnosis)
    print(f"run: {arguments.workdir}")
    return command_line.DONE


if __name__ == "__main__":
    sys.exit(main())
