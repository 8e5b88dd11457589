"""Networks of users' own, trained whole: whatever a network is made of, a resume and the devices change nothing."""

import json

import keras
import numpy as np
import pytest
from numbered_shards import striped_image, write_shards
from striped_trainings import stop_after

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.inference.predictor import Predictor
from engine.networks import registry
from engine.runs.run_directory import RunDirectory
from engine.shards import tfrecords
from engine.training import checkpoints, trainer

pytestmark = pytest.mark.usefixtures("undrawn")

SOURCE = """
import keras
from keras import layers

def build(image_format, num_classes, width=4):
    inputs = keras.Input(image_format.image_shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(width, 3, activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.SpatialDropout2D(0.25)(x)
    x = layers.GaussianNoise(0.1)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(x))

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = keras.Sequential([layers.Flatten(), layers.Dropout(0.5), layers.Dense(1)])

    def call(self, images, training=False):
        return self.block(images / 255, training=training)

def subclassed(image_format, num_classes):
    return Net()
"""
SHARED = {
    "epochs": 2,
    "global_batch_size": 16,
    "precision": "float32",
    "augment": "light",
    "steps_per_execution": "1",
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    directory = tmp_path_factory.mktemp("striped")
    write_shards(directory, {"train": 48, "validation": 24}, draw=striped_image)
    return directory


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)


def train(shards, workdir, *, model=None, **settings):
    options = {k: settings.pop(k) for k in ("resume", "should_stop") if k in settings}
    network = registry.resolve(settings.get("model", "cnn") if model is None else model)
    config = TrainConfig.from_json({**SHARED, **registry.sorted_settings(network, settings)})
    return trainer.train(config, shards, workdir, model=model, say=lambda line: None, **options)


def last_arrays(workdir):
    return checkpoints.load_newest(RunDirectory(workdir).checkpoints).arrays


@pytest.mark.parametrize(
    "settings",
    [{"model": "net.py:build"}, {"model": "net.py:subclassed", "model_outputs": "logits"}],
    ids=["functional", "subclassed"],
)
def test_a_resumed_run_ends_as_the_undisturbed_one_to_the_bit(shards, tmp_path, settings):
    train(shards, tmp_path / "whole", **settings)
    assert train(shards, tmp_path / "cut", should_stop=stop_after(4), **settings).stopped
    train(shards, tmp_path / "cut", resume=True, **settings)
    whole, resumed = last_arrays(tmp_path / "whole"), last_arrays(tmp_path / "cut")
    assert whole.keys() == resumed.keys()
    for key, array in whole.items():
        np.testing.assert_array_equal(array, resumed[key], err_msg=key)


def test_settings_reach_the_function_and_bind_the_resume(shards, tmp_path):
    result = train(shards, tmp_path / "run", model="net.py:build", width=6, epochs=1)
    assert len(result.history) == 1
    run = RunDirectory(tmp_path / "run")
    stored = TrainConfig.from_json(json.loads(run.config.read_text()))
    assert stored.model == "net.py:build" and stored.model_settings == {"width": 6}
    with pytest.raises(UserError, match="--width was 6, now 4"):
        train(shards, tmp_path / "run", model="net.py:build", epochs=1, resume=True)
    predictor = Predictor.load(run.path)
    shape = tfrecords.read_manifest(shards).image_shape
    probabilities = predictor.predict(np.zeros((3, *shape), np.uint8))
    assert probabilities.shape == (3,) and ((probabilities > 0) & (probabilities < 1)).all()


def test_of_a_keras_model_given_in_python_a_copy_is_trained(shards, tmp_path):
    shape = tfrecords.read_manifest(shards).image_shape
    model = keras.Sequential(
        [
            keras.Input(shape),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    before = model.get_weights()
    train(shards, tmp_path / "run", model=model, epochs=1)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    trained = last_arrays(tmp_path / "run")["model/0000"]
    assert 0 < np.abs(trained - before[0]).max() < 0.2
    with pytest.raises(UserError, match="already holds a run"):
        train(shards, tmp_path / "run", model=model, epochs=1)


def test_a_failing_function_leaves_the_directory_free(shards, tmp_path):
    (tmp_path / "bad.py").write_text("def build(image_format, num_classes):\n    return 1 / 0\n")
    with pytest.raises(UserError, match=r"bad\.py:2: ZeroDivisionError"):
        train(shards, tmp_path / "run", model="bad.py:build")
    train(shards, tmp_path / "run", model="net.py:build", epochs=1)
