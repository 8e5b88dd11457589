"""`python -m benchmarks.watched_training SHARDS --workdir RUN --watch SPLIT --record FILE [flags]`: a watched training.

It trains as `engine.train` does, with the same flags, and after each epoch measures the AUROC on a held-out
split, with the weights that were validated. Nothing is chosen by that figure. FILE holds the AUROC of each
epoch, the seconds of training until then, and the seconds that watching took, which these do not include.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from engine.base import command_line, files
from engine.metrics import curves
from engine.pipeline.reading import StoredSplit
from engine.shards import tfrecords
from engine.training import train_arguments, trainer

PROGRAM = "python -m benchmarks.watched_training"
_BATCH = 128


class HeldOutAuroc(keras.callbacks.Callback):
    """Measures the AUROC on held-out images after each epoch.

    Args:
        images: uint8[N, H, W, C].
        labels: int64[N].
        clock: monotonic seconds.

    Attributes:
        aurocs: of each epoch.
        seconds: of training until the end of each epoch, validation included, watching left out.
        own_seconds: what watching took.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._images, self._labels, self._clock = images, labels, clock
        # Numbers and lists of numbers go into checkpoints, from which a resumed training continues them.
        self.aurocs: list[float] = []
        self.seconds: list[float] = []
        self.own_seconds = 0.0

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Starts the clock."""
        self._started = [self._clock()]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Measures; the clock of training stands still meanwhile."""
        ended = self._clock()
        before = self.seconds[-1] if self.seconds else 0.0
        self.seconds.append(before + ended - self._started.pop())
        area = curves.mean_auroc(self._labels, self._scores())
        self.aurocs.append(0.5 if area is None else area)
        now = self._clock()
        self.own_seconds += now - ended
        self._started.append(now)

    def _scores(self) -> np.ndarray:
        """float64[N], or float64[N, K] of more than two classes."""
        parts = [
            np.asarray(self.model(self._images[start : start + _BATCH], training=False))
            for start in range(0, len(self._images), _BATCH)
        ]
        scores = np.concatenate(parts).astype(np.float64)
        return scores[:, 0] if scores.shape[1] == 1 else scores


def evenly_spaced(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` of `count` positions, int64[M]."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = train_arguments.build_parser(PROGRAM, __doc__)
    parser.add_argument("--watch", metavar="SPLIT", required=True, help="the split to watch")
    parser.add_argument(
        "--watch-images", type=int, default=1000, help="images of it to watch, evenly spaced"
    )
    parser.add_argument("--record", type=Path, metavar="FILE", required=True, help="what to write")
    arguments = parser.parse_args(argv)

    def body() -> int:
        settings = train_arguments.checked_settings(arguments)
        manifest = tfrecords.read_manifest(arguments.shards)
        held_out = StoredSplit(arguments.shards, arguments.watch, manifest).load(("image", "label"))
        places = evenly_spaced(len(held_out["label"]), arguments.watch_images)
        watch = HeldOutAuroc(held_out["image"][places], held_out["label"][places])
        del held_out
        with command_line.StopFlag() as stop:
            result = trainer.train(
                settings,
                arguments.shards,
                arguments.workdir,
                resume=arguments.resume,
                callbacks=[watch],
                should_stop=stop,
            )
        if result.stopped:
            return command_line.TERMINATED
        files.write_json(
            arguments.record,
            {
                "aurocs": watch.aurocs,
                "seconds": watch.seconds,
                "own_seconds": watch.own_seconds,
            },
        )
        return command_line.DONE

    return command_line.run(PROGRAM, body)


if __name__ == "__main__":
    sys.exit(main())
