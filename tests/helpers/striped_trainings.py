"""Short trainings on 100 striped images of 16 x 16 pixels, and what tests compare of them."""

import itertools

import keras
import numpy as np

from engine.base.settings import TrainConfig
from engine.training import history, trainer
from engine.training.training_step import TrainingStep

TINY = TrainConfig(
    epochs=2,
    global_batch_size=16,
    depth=2,
    width=8,
    augment="light",
    precision="float32",
    warmup_epochs=0.0,
    learning_rate=3e-3,
    ema_momentum=0.5,
    monitor="val_auroc",
    steps_per_execution="1",
    reference_images=0,
)
STEPS = 6  # per epoch: 100 // 16


def with_(config=TINY, **changes):
    return TrainConfig.from_json({**config.to_json(), **changes})


def train(shards, workdir, config=TINY, **options):
    return trainer.train(config, shards, workdir, say=lambda line: None, **options)


def stop_after(steps):
    calls = itertools.count(1)
    return lambda: next(calls) >= steps


def model_weights(run):
    return keras.saving.load_model(run.model).get_weights()


def comparable(rows):
    """History without what the clock decides."""
    return [{k: v for k, v in row.items() if k not in history.CLOCK_FIELDS} for row in rows]


def diverging(monkeypatch, *steps):
    """Makes these steps of `TrainingStep.run` (counted from 1) find a loss that is not finite."""
    calls, run = itertools.count(1), TrainingStep.run

    def maybe(self, batches, count, **options):
        losses, *rest = run(self, batches, count, **options)
        return np.where([next(calls) in steps for _ in losses], np.nan, losses), *rest

    monkeypatch.setattr(TrainingStep, "run", maybe)
