import csv

import keras
import numpy as np
import pytest
import striped_trainings
from numbered_shards import striped_image
from striped_trainings import STEPS, with_

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.runs.run_directory import RunDirectory
from engine.training import trainer

pytestmark = pytest.mark.usefixtures("undrawn")

CONFIG = TrainConfig(
    epochs=3,
    refit_head=False,  # the model file is that of an epoch
    global_batch_size=16,
    depth=2,
    width=4,
    augment="none",
    precision="float32",
    schedule="constant",
    learning_rate=3e-3,
    deterministic=True,
    steps_per_execution="4",
)
IMAGES = np.stack([striped_image(number) for number in range(8)])
LOGS = ["accuracy", "learning_rate", "loss", "val_accuracy", "val_auroc", "val_loss"]


def train(shards, run, *callbacks, config=CONFIG, **options):
    return striped_trainings.train(shards, run, config, callbacks=callbacks, **options)


class Recorder(keras.callbacks.Callback):
    """Every hook that is called, with what it is given."""

    def __init__(self):
        super().__init__()
        self.calls, self.seen = [], []

    def named(self, hook):
        return [rest for name, *rest in self.calls if name == hook]

    def on_train_begin(self, logs=None):
        self.calls.append(("train_begin", logs))

    def on_train_end(self, logs=None):
        self.calls.append(("train_end", logs))

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(("epoch_begin", epoch, logs))

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(self.model(IMAGES).numpy())
        self.rate = float(self.model.optimizer.learning_rate)
        self.calls.append(("epoch_end", epoch, logs))

    def on_test_begin(self, logs=None):
        self.calls.append(("test_begin", logs))

    def on_test_end(self, logs=None):
        self.calls.append(("test_end", logs))


class BatchRecorder(Recorder):
    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("batch_end", batch, logs))


def test_epochs_are_seen_as_model_fit_shows_them(striped, tmp_path):
    """Keras' own callbacks work, weights are those that were validated, and nothing is changed."""
    recorder, log = Recorder(), tmp_path / "log.csv"
    kept = tmp_path / "{epoch:02d}.weights.h5"
    result = train(
        striped,
        tmp_path / "run",
        recorder,
        keras.callbacks.CSVLogger(log),
        keras.callbacks.TensorBoard(tmp_path / "board"),
        keras.callbacks.ModelCheckpoint(kept, save_weights_only=True),
    )
    hooks = ["epoch_begin", "test_begin", "test_end", "epoch_end"]
    assert [name for name, *_ in recorder.calls] == ["train_begin", *hooks * 3, "train_end"]
    assert recorder.params == {"epochs": 3, "steps": STEPS, "verbose": 0}
    for epoch, ((number, logs), row) in enumerate(
        zip(recorder.named("epoch_end"), result.history, strict=True)
    ):
        assert number == epoch
        assert sorted(logs) == LOGS
        assert logs == {name: row[name] for name in LOGS}
    assert recorder.rate == pytest.approx(3e-3)
    assert recorder.named("train_end")[0] == [recorder.named("epoch_end")[-1][1]]
    assert [row["epoch"] for row in csv.DictReader(log.open())] == ["0", "1", "2"]
    assert len(list(tmp_path.glob("0*.weights.h5"))) == 3
    assert list((tmp_path / "board").rglob("events.*"))
    best = keras.saving.load_model(RunDirectory(tmp_path / "run").model)
    seen = recorder.seen[result.best_epoch - 1]
    np.testing.assert_allclose(best.predict(IMAGES, verbose=0), seen, atol=1e-5)
    plain = train(striped, tmp_path / "plain")
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in result.history]


def test_batches_are_seen_one_by_one_where_a_callback_asks_for_them(striped, tmp_path):
    recorder = BatchRecorder()
    result = train(striped, tmp_path / "run", recorder, config=with_(CONFIG, epochs=1))
    calls = recorder.named("batch_end")
    assert [batch for batch, _ in calls] == list(range(STEPS))
    assert calls[-1][1]["loss"] == result.history[0]["loss"]
    assert calls[-1][1]["accuracy"] == result.history[0]["accuracy"]


def test_early_stopping_ends_a_run_which_stays_ended_until_it_is_extended(striped, tmp_path):
    """On a resume, epochs go on; a callback's end is part of the run's state."""
    stop = keras.callbacks.EarlyStopping("val_loss", min_delta=100, patience=1)
    stopped = train(striped, tmp_path / "run", stop)
    assert len(stopped.history) == 2 and not stopped.stopped
    assert stopped.threshold is not None
    assert len(train(striped, tmp_path / "run", resume=True).history) == 2
    recorder = Recorder()
    more = train(striped, tmp_path / "run", recorder, config=with_(CONFIG, epochs=4), resume=True)
    assert len(more.history) == 4
    assert [epoch for epoch, _ in recorder.named("epoch_begin")] == [2, 3]


class EndAtTheThirdBatch(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.model.stop_training = batch == 2


@pytest.fixture(scope="module")
def ended_at_the_third_batch(striped, tmp_path_factory):
    return train(striped, tmp_path_factory.mktemp("ended") / "run", EndAtTheThirdBatch())


def test_training_ended_at_a_batch_validates_what_it_has_and_ends(ended_at_the_third_batch):
    (row,) = ended_at_the_third_batch.history
    assert row["images_per_second"] == pytest.approx(3 * 16 / row["train_seconds"])


def test_a_stop_in_the_step_in_which_a_callback_ends_training_keeps_its_decision(
    striped, tmp_path, ended_at_the_third_batch
):
    whole, callback = ended_at_the_third_batch, EndAtTheThirdBatch()
    stops = iter([False, False, True])
    stopped = train(striped, tmp_path / "run", callback, should_stop=lambda: next(stops))
    assert stopped.stopped and not stopped.history
    resumed = train(striped, tmp_path / "run", BatchRecorder(), resume=True)
    assert [row["val_loss"] for row in resumed.history] == [
        row["val_loss"] for row in whole.history
    ]
    more = train(striped, tmp_path / "run", config=with_(CONFIG, epochs=4), resume=True)
    assert len(more.history) == 4


def test_callbacks_resume_with_their_own_state(striped, tmp_path):
    """What they changed of their values comes back; of other callbacks it starts anew, which is said."""

    class Counter(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.seen = []

        def on_epoch_end(self, epoch, logs=None):
            self.seen.append(epoch)

    def callbacks():
        return (
            keras.callbacks.EarlyStopping(
                "val_loss", min_delta=100, patience=3, restore_best_weights=True
            ),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", save_best_only=True),
            Counter(),
        )

    config, steps = with_(CONFIG, epochs=6), iter(range(99))
    first = callbacks()
    train(striped, tmp_path / "run", *first, config=config, should_stop=lambda: next(steps) > 4)
    assert first[0].wait == 1 and first[2].seen == [0, 1]
    second, said = callbacks(), []
    result = trainer.train(
        config, striped, tmp_path / "run", callbacks=second, resume=True, say=said.append
    )
    assert len(result.history) == 4
    assert second[2].seen == [0, 1, 2, 3]
    assert second[1].best == min(row["val_loss"] for row in result.history)
    assert not any("callbacks:" in line for line in said)
    trainer.train(config, striped, tmp_path / "run", resume=True, say=said.append)
    assert any("EarlyStopping, ModelCheckpoint, Counter, now none" in line for line in said)


def test_a_callback_that_sets_the_learning_rate_does_so_alone(striped, tmp_path):
    """Otherwise a plateau of the engine's own would reduce it too."""
    config = with_(CONFIG, epochs=3, plateau_patience=1, plateau_factor=0.1, learning_rate=1e-9)
    alone = train(striped, tmp_path / "alone", config=config)
    assert alone.history[-1]["learning_rate"] < 0.5e-9
    reduce = keras.callbacks.ReduceLROnPlateau("val_loss", patience=99)
    kept = train(striped, tmp_path / "kept", reduce, config=config)
    assert [row["learning_rate"] for row in kept.history] == pytest.approx([1e-9] * 3)


def test_a_callback_may_set_the_learning_rate_of_a_keras_models_training(striped, tmp_path):
    """A copy of the model is trained, in the scope of the devices."""
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )
    before = model.get_weights()
    rates = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 1e-3 / (epoch + 1))
    config = with_(CONFIG, epochs=2, depth=TrainConfig.depth, width=TrainConfig.width)
    result = train(striped, tmp_path / "run", rates, config=config, model=model)
    np.testing.assert_allclose([row["learning_rate"] for row in result.history], [1e-3, 5e-4])
    for ours, theirs in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "expected a list"),
        (print, "instances of keras.callbacks.Callback"),
        (keras.callbacks.History, "instances of keras.callbacks.Callback"),
        (keras.callbacks.BackupAndRestore("backup"), "resume=True"),
        (keras.callbacks.SwapEMAWeights(), "ema_momentum"),
        (keras.callbacks.ReduceLROnPlateau(), "schedule constant"),
    ],
)
def test_what_does_not_work_as_a_callback_is_refused_before_training(
    striped, tmp_path, wrong, message
):
    with pytest.raises(UserError, match=message):
        trainer.train(
            with_(CONFIG, schedule="cosine"), striped, tmp_path / "run", callbacks=wrong and [wrong]
        )
    assert not (tmp_path / "run").exists()
