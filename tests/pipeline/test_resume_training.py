import keras
import numpy as np
import pytest
from numbered_shards import striped_image, write_shards

from engine.base.config import UserError
from engine.pipeline import datasets

BATCH, STEPS, EPOCHS = 16, 5, 3


class Killed(BaseException):
    """What ends a training here as a kill would: nothing runs after it."""


class KilledAfter(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.left = batches

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            raise Killed


class Unseeded(keras.layers.Layer):
    """Draws by Keras' global seed, as layers that users write often do."""

    def call(self, inputs, training=False):
        if not training:
            return inputs
        return inputs + 0.1 * keras.random.normal(keras.ops.shape(inputs))


@pytest.fixture(scope="module")
def striped(tmp_path_factory):
    directory = tmp_path_factory.mktemp("striped")
    write_shards(directory, {"train": 90, "validation": 20}, draw=striped_image)
    return directory


def build_model(**compile_options):
    model = keras.Sequential(
        [
            keras.Input((16, 16, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
            keras.layers.BatchNormalization(),
            Unseeded(),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    trained = datasets.augmented(model)
    options = {"optimizer": keras.optimizers.Adam(0.01), "jit_compile": False, **compile_options}
    trained.compile(loss="binary_crossentropy", metrics=["accuracy"], **options)
    return trained


def fit(shards, path, *callbacks, stateful=(), epochs=EPOCHS, model=None, **options):
    """A process of its own, but for the process: everything is built anew."""
    keras.utils.set_random_seed(3)
    model = model or build_model()
    resume = datasets.ResumeTraining(
        path, steps_per_epoch=STEPS, stateful=stateful, **{"save_every": 2, **options}
    )
    batches = datasets.training(
        shards,
        global_batch_size=BATCH,
        augment=datasets.Strengths(brightness=0.2),
        seed=1,
        start_step=resume.start_step,
    )
    history = model.fit(
        batches,
        steps_per_epoch=STEPS,
        epochs=epochs,
        initial_epoch=resume.initial_epoch,
        validation_data=datasets.evaluation(shards),
        callbacks=[*stateful, resume, *callbacks],
        verbose=0,
    )
    return model, history


def assert_same(one, other):
    """Two models and histories, to the bit."""
    (model, history), (expected, expected_history) = one, other
    assert history.history == expected_history.history
    assert history.epoch == expected_history.epoch
    for kind in ("variables", "metrics_variables"):
        pairs = zip(getattr(model, kind), getattr(expected, kind), strict=True)
        for found, wanted in pairs:
            np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    for found, wanted in zip(model.optimizer.variables, expected.optimizer.variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of a training that nothing disturbs."""
    return tmp_path_factory.mktemp("whole") / "resume.npz"


@pytest.fixture(scope="module")
def undisturbed(striped, whole):
    return fit(striped, whole)


# Before the first save; at the last batch of an epoch, which is saved with the epoch's end; twice, with
# the second process counting through the batches of the first.
@pytest.mark.parametrize(("kills", "starts"), [([1], [0]), ([10], [9]), ([3, 8], [2, 7])])
def test_a_killed_training_resumes_to_the_bit(striped, tmp_path, undisturbed, kills, starts):
    path, found = tmp_path / "resume.npz", []
    for batches in kills:
        with pytest.raises(Killed):
            fit(striped, path, KilledAfter(batches))
        found.append(datasets.ResumeTraining(path, steps_per_epoch=STEPS).start_step)
    assert found == starts
    assert_same(fit(striped, path), undisturbed)


def test_a_finished_training_is_restored_whole(striped, whole, undisturbed):
    model, history = fit(striped, whole, KilledAfter(1))  # which trains no batch
    assert history.history == undisturbed[1].history
    for found, wanted in zip(model.variables, undisturbed[0].variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


def test_an_epoch_cut_short_by_a_callback_is_resumed_where_it_was_cut(
    striped, tmp_path, undisturbed
):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 2

    path = tmp_path / "resume.npz"
    fit(striped, path, Stop(), save_every=None)
    assert datasets.ResumeTraining(path, steps_per_epoch=STEPS).start_step == 3
    assert_same(fit(striped, path), undisturbed)


def test_other_callbacks_are_resumed_where_they_are_named(striped, tmp_path):
    def callbacks():
        return (
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=9, factor=0.5),
            keras.callbacks.EarlyStopping(
                "val_loss", patience=3, min_delta=9, restore_best_weights=True
            ),
        )

    expected = fit(striped, tmp_path / "whole.npz", stateful=callbacks(), epochs=9)
    assert len(expected[1].epoch) == 4
    with pytest.raises(Killed):
        fit(striped, tmp_path / "r.npz", KilledAfter(13), stateful=callbacks(), epochs=9)
    assert_same(fit(striped, tmp_path / "r.npz", stateful=callbacks(), epochs=9), expected)
    # And it stays ended.
    ended, _ = fit(striped, tmp_path / "r.npz", KilledAfter(1), stateful=callbacks(), epochs=9)
    for found, wanted in zip(ended.variables, expected[0].variables, strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


def test_half_precision_variables_and_several_steps_per_execution(striped, tmp_path):
    def small():
        layers = [keras.Input((16, 16, 1)), keras.layers.Flatten(), keras.layers.Dropout(0.5)]
        layers.append(keras.layers.Dense(1, activation="sigmoid", dtype="bfloat16"))
        model = datasets.augmented(keras.Sequential(layers))
        model.compile("sgd", "binary_crossentropy", steps_per_execution=2, jit_compile=False)
        return model

    def run(path, *callbacks):
        keras.utils.set_random_seed(3)
        return fit(striped, path, *callbacks, model=small())

    expected = run(tmp_path / "whole.npz")
    with pytest.raises(Killed):
        run(tmp_path / "r.npz", KilledAfter(5))
    assert_same(run(tmp_path / "r.npz"), expected)


def test_what_does_not_fit_the_file_is_one_line(striped, tmp_path):
    path = tmp_path / "resume.npz"
    with pytest.raises(Killed):
        fit(striped, path, KilledAfter(3))
    with pytest.raises(UserError, match=r"steps_per_epoch=5, got 6"):
        datasets.ResumeTraining(path, steps_per_epoch=6)
    with pytest.raises(UserError, match="holds another optimizer"):
        fit(striped, path, model=build_model(optimizer="sgd"))
    with pytest.raises(UserError, match=r"steps_per_execution=1, got 2"):
        fit(striped, path, model=build_model(steps_per_execution=2))
    with pytest.raises(UserError, match="0 other callbacks, got 1"):
        fit(striped, path, stateful=[keras.callbacks.EarlyStopping()])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="damaged"):
        datasets.ResumeTraining(path, steps_per_epoch=STEPS)
    for wrong in ({"steps_per_epoch": 0}, {"steps_per_epoch": 5, "save_every": 0.5}):
        with pytest.raises(UserError, match="must be a positive integer, got"):
            datasets.ResumeTraining(tmp_path / "other.npz", **wrong)
    with pytest.raises(UserError, match="is a directory, expected a file"):
        datasets.ResumeTraining(tmp_path, steps_per_epoch=5)
    for wrong in (keras.callbacks.EarlyStopping(), [keras.callbacks.EarlyStopping]):
        with pytest.raises(UserError, match="stateful must be a list of Keras callbacks, got"):
            datasets.ResumeTraining(tmp_path / "other.npz", steps_per_epoch=5, stateful=wrong)


def test_a_fit_that_begins_elsewhere_is_refused(striped, tmp_path):
    resume = datasets.ResumeTraining(tmp_path / "r.npz", steps_per_epoch=STEPS)
    batches = datasets.training(striped, global_batch_size=BATCH)
    model = keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Flatten()])
    model.add(keras.layers.Dense(1, activation="sigmoid"))
    model.compile("sgd", "binary_crossentropy")
    options = {"epochs": 2, "callbacks": [resume], "verbose": 0}
    with pytest.raises(UserError, match=r"give fit initial_epoch=resume\.initial_epoch"):
        model.fit(batches, steps_per_epoch=STEPS, initial_epoch=1, **options)
    with pytest.raises(UserError, match="fit has steps_per_epoch=4, ResumeTraining 5"):
        model.fit(batches, steps_per_epoch=4, **options)
    unbuilt = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(1)])
    unbuilt.compile("sgd", "binary_crossentropy")
    with pytest.raises(UserError, match=r"begin it with keras\.Input"):
        unbuilt.fit(batches, steps_per_epoch=STEPS, **options)
