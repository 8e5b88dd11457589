import keras
import numpy as np
import pytest
import tensorflow as tf
from numbered_shards import SIZE, write_shards

from engine.base.config import UserError
from engine.pipeline import datasets
from engine.shards import tfrecords

BATCH = 16


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_shards(directory, {"train": 150, "validation": 37})
    return directory


def test_plain_keras_trains_and_validates_on_datasets_as_they_come(numbered):
    model = keras.Sequential(
        [
            keras.Input((*SIZE, 1)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(loss="binary_crossentropy", metrics=["accuracy"])
    validation = datasets.evaluation(numbered, batch_size=10)
    history = model.fit(
        datasets.training(numbered, global_batch_size=BATCH),
        steps_per_epoch=datasets.steps_per_epoch(numbered, global_batch_size=BATCH),
        epochs=2,
        validation_data=validation,
        verbose=0,
    ).history
    assert len(validation) == 4
    assert len(history["loss"]) == len(history["val_loss"]) == 2
    loss, _ = model.evaluate(validation, verbose=0)
    assert loss == pytest.approx(history["val_loss"][-1], rel=1e-6)


def test_steps_are_counted_of_a_directory_or_its_manifest(numbered):
    manifest = tfrecords.read_manifest(numbered)
    for shards in (numbered, str(numbered), manifest):
        assert datasets.steps_per_epoch(shards) == 150 // 64
        assert datasets.steps_per_epoch(shards, "validation", global_batch_size=8) == 4


def test_without_augmentation_batches_are_pairs_for_model_fit(numbered):
    images, labels = next(iter(datasets.training(numbered, global_batch_size=BATCH)))
    assert images.shape == (BATCH, *SIZE, 1)
    assert labels.shape == (BATCH,)


def test_one_hot_labels_are_those_of_the_classes(numbered):
    for dataset in (
        datasets.training(numbered, global_batch_size=BATCH, label_mode="categorical"),
        datasets.evaluation(numbered, batch_size=BATCH, label_mode="categorical"),
    ):
        images, labels = next(iter(dataset))
        assert labels.shape == (BATCH, 2) and labels.dtype == tf.float32
        numbers = images.numpy()[:, 0, 0, 0]
        np.testing.assert_array_equal(np.argmax(labels, axis=1), numbers % 3 > 0)


def test_class_weights_make_every_class_weigh_the_same(numbered):
    counts = np.array([50, 100])  # of 150 examples, those divisible by 3 are of class 0
    weights = datasets.class_weights(numbered)
    np.testing.assert_allclose([weights[0] * 50, weights[1] * 100], counts.sum() / 2)
    assert datasets.class_names(numbered) == ("well", "ill")


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"split": "test"}, "train, validation"),
        ({"global_batch_size": 151}, "at most 150"),
        ({"augment": "heavy"}, "augment must be one of none, light, .*got 'heavy'"),
        ({"label_mode": "binary"}, "label_mode must be one of int, categorical, got 'binary'"),
        ({"start_step": -1}, "start_step must be an integer of at least 0, got -1"),
        ({"start_step": 1.5}, "got 1.5"),
        ({"augment": ["light"]}, "got \\['light'\\]"),
        ({"augment": datasets.Strengths(zoom=-1)}, "--zoom.*-1"),
        ({"mixup": 0.2}, "label_mode='categorical', got 'int'"),
        ({"cutmix": -1, "label_mode": "categorical"}, "--cutmix.*-1"),
        ({"mixup": 1, "label_mode": "categorical", "global_batch_size": 15}, "must be even"),
    ],
)
def test_wrong_arguments_are_one_line(numbered, wrong, line):
    with pytest.raises(UserError, match=line):
        datasets.training(numbered, **wrong)
