"""`python -m benchmarks.loss_compare REVISION`: do two revisions, or two device counts, compute the same?

Each side uses its own code, in its own process, to build shards of the same
phantoms and to train on them, one step per epoch. The bytes of the shards, the
loss of every step and the final weights are compared to the last bit.
(After `scripts/loss_compare.py` of torchtitan.)

    python -m benchmarks.loss_compare HEAD~3         a revision and this tree
    python -m benchmarks.loss_compare HEAD~3 --model tutorial
    python -m benchmarks.loss_compare . --devices 1,2      one device and two
"""

import argparse
import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.base import command_line
from engine.base.config import UserError
from engine.base.flag_parser import FlagParser

PROGRAM = "python -m benchmarks.loss_compare"
ROOT = Path(__file__).resolve().parent.parent
THIS_TREE = "."


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one side computed.

    Attributes:
        shards: file name -> SHA-256 of every shard.
        losses: the training loss of each step.
        val_losses: the validation loss after each step.
        weights: a SHA-256 over every variable of the last checkpoint, optimizer included.
    """

    shards: dict[str, str]
    losses: list[float]
    val_losses: list[float]
    weights: str


@dataclasses.dataclass(frozen=True)
class Workload:
    """What both sides build and train."""

    images: int
    image_size: int
    steps: int
    flags: tuple[str, ...]


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = FlagParser(
        prog=PROGRAM,
        description=__doc__.partition("\n\n")[0],
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "before", metavar="REVISION", help="a git revision, or . for the working tree"
    )
    parser.add_argument(
        "after",
        metavar="REVISION",
        nargs="?",
        default=THIS_TREE,
        help="the revision to compare with (default: .)",
    )
    parser.add_argument(
        "--devices",
        default="1,1",
        metavar="N,M",
        help="logical devices of the first and of the second side (default: 1,1)",
    )
    parser.add_argument("--model", default="cnn", metavar="NAME", help="network (default: cnn)")
    parser.add_argument(
        "--steps", type=int, default=40, metavar="N", help="steps to train (default: 40)"
    )
    parser.add_argument(
        "--images", type=int, default=64, metavar="N", help="images per batch (default: 64)"
    )
    parser.add_argument(
        "--image-size", type=int, default=96, metavar="N", help="pixels per side (default: 96)"
    )
    parser.add_argument(
        "--train-flags",
        default="",
        metavar="FLAGS",
        help="further flags of engine.train for both sides, as one argument",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.0,
        metavar="X",
        help="largest relative difference of a loss (default: 0, equal to the bit); above 0, weights "
        "are not compared",
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command; its exit status is 1 if the sides differ."""
    arguments = build_parser().parse_args(argv)
    return command_line.run(PROGRAM, lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    workload = Workload(
        images=arguments.images,
        image_size=arguments.image_size,
        steps=arguments.steps,
        flags=("--model", arguments.model, *arguments.train_flags.split()),
    )
    devices = _parse_devices(arguments.devices)
    outcomes = []
    for revision, count in zip((arguments.before, arguments.after), devices, strict=True):
        with checked_out(revision) as tree:
            outcomes.append(outcome_of(tree, workload, devices=count))
        print(f"{revision} on {count}: last loss {outcomes[-1].losses[-1]!r}", flush=True)
    found = differences(*outcomes, tolerance=arguments.tolerance)
    for line in found or ["equal: shards, the losses of all steps, validation, weights"]:
        print(line)
    return command_line.FAILED if found else command_line.DONE


def _parse_devices(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.isdigit() and int(part) for part in parts):
        raise UserError(f"--devices: got {text!r}, expected two numbers, such as 1,2")
    return int(parts[0]), int(parts[1])


@contextlib.contextmanager
def checked_out(revision: str) -> Iterator[Path]:
    """A directory with the source of a revision; the working tree itself for `.`."""
    if revision == THIS_TREE:
        yield ROOT
        return
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        try:
            _git("worktree", "add", "--quiet", "--detach", str(tree), revision)
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().splitlines()[-1]
            raise UserError(f"{revision}: cannot be checked out ({reason})") from error
        try:
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, capture_output=True, text=True)


def outcome_of(tree: Path, workload: Workload, *, devices: int) -> Outcome:
    """Builds and trains with the code in `tree`."""
    with tempfile.TemporaryDirectory() as scratch:
        images, shards, run = (Path(scratch) / name for name in ("images", "shards", "run"))
        size = str(workload.image_size)
        counts = ("--train-images", str(workload.images), "--val-images", "16")
        _engine(tree, "phantoms", str(images), *counts, "--test-images", "0", "--workers", "1")
        _engine(tree, "build_tfrecords", str(images), str(shards), "--image-size", size)
        _engine(
            tree,
            "train",
            *(str(shards), "--workdir", str(run), "--deterministic", "--seed", "3"),
            *("--global-batch-size", str(workload.images), "--epochs", str(workload.steps)),
            *("--num-logical-devices", str(devices), *workload.flags),
        )
        newest = max((run / "checkpoints").glob("step-*.npz"))
        with np.load(newest) as archive:
            rows = json.loads(archive["state"].tobytes())["state"]["rows"]
            digest = hashlib.sha256()
            for name in sorted(set(archive.files) - {"state"}):
                digest.update(name.encode() + archive[name].tobytes())
        return Outcome(
            shards={
                path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(shards.glob("*.tfrecord"))
            },
            losses=[row["loss"] for row in rows],
            val_losses=[row["val_loss"] for row in rows],
            weights=digest.hexdigest(),
        )


def _engine(tree: Path, command: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"engine.{command}", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["it printed nothing"]
        raise UserError(f"engine.{command} failed in {tree}: {lines[-1]}")


def differences(before: Outcome, after: Outcome, *, tolerance: float = 0.0) -> list[str]:
    """The differences between the sides, one line each; empty if they are equal."""
    found = []
    if before.shards != after.shards:
        named = sorted(
            name
            for name in before.shards.keys() | after.shards.keys()
            if before.shards.get(name) != after.shards.get(name)
        )
        found.append(f"shards differ: {', '.join(named)}")
    for name in ("losses", "val_losses"):
        found += _different_losses(name, getattr(before, name), getattr(after, name), tolerance)
    if not tolerance and before.weights != after.weights:
        found.append("weights at the end differ")
    return found


def _different_losses(
    name: str, before: Sequence[float], after: Sequence[float], tolerance: float
) -> list[str]:
    if len(before) != len(after):
        return [f"{name}: {len(before)} steps and {len(after)}"]
    for step, (was, now) in enumerate(zip(before, after, strict=True), start=1):
        if was != now and not abs(was - now) <= tolerance * abs(was):
            return [f"{name} differ from step {step} on: {was!r} and {now!r}"]
    return []


if __name__ == "__main__":
    sys.exit(main())
