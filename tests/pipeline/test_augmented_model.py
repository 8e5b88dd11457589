import keras
import numpy as np
import pytest
from numbered_shards import striped_image, write_shards

from engine.base.config import UserError
from engine.pipeline import augmentation, datasets

BATCH = 16


@pytest.fixture(scope="module")
def striped(tmp_path_factory):
    directory = tmp_path_factory.mktemp("striped")
    write_shards(directory, {"train": 90, "validation": 20}, draw=striped_image)
    return directory


@pytest.fixture(scope="module")
def batch(striped):
    """A batch with all the draws there are, and its labels."""
    return next(iter(datasets.training(striped, global_batch_size=BATCH, augment="strong")))


def passing_on(dtype="float32"):
    """A model that gives back the images that it gets."""
    inputs = keras.Input((16, 16, 1), dtype=dtype)
    return keras.Model(inputs, keras.layers.Identity(dtype=dtype)(inputs))


def classifier():
    layers = [keras.Input((16, 16, 1)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()]
    return keras.Sequential([*layers, keras.layers.Dense(1, activation="sigmoid")])


def test_training_sees_what_augmentation_makes_of_the_images(batch):
    inputs, _ = batch
    assert inputs.keys() == {
        "image",
        "key",
        "warp",
        "tone",
        "gamma",
        "blur",
        "spectrum",
        "spectrum_key",
    }
    seen = datasets.augmented(passing_on())(inputs, training=True)
    np.testing.assert_array_equal(seen, augmentation.apply(inputs))
    assert np.abs(seen.numpy() - inputs["image"].numpy()).mean() > 1


def test_outside_of_training_images_are_left_alone_with_draws_or_without(batch):
    inputs, _ = batch
    model = datasets.augmented(passing_on())
    for given in (inputs, inputs["image"]):
        np.testing.assert_array_equal(model(given), inputs["image"])


def test_mixed_precision_does_not_round_where_pixels_come_from(batch):
    inputs, _ = batch
    with_policy = passing_on()
    with_policy.dtype_policy = keras.DTypePolicy("mixed_bfloat16")
    seen = datasets.augmented(with_policy)(inputs, training=True)
    np.testing.assert_array_equal(seen, augmentation.apply(inputs))


def test_models_of_integer_images_get_rounded_ones(batch):
    inputs, _ = batch
    seen = datasets.augmented(passing_on("uint8"))(inputs, training=True)
    expected = np.clip(np.rint(augmentation.apply(inputs)), 0, 255)
    np.testing.assert_array_equal(seen, expected.astype(np.uint8))


def test_mixing_shares_out_images_and_labels_alike(striped):
    options = {"global_batch_size": BATCH, "label_mode": "categorical", "seed": 2}
    images, labels = next(iter(datasets.training(striped, **options)))
    mixed, mixed_labels = next(iter(datasets.training(striped, mixup=1.0, **options)))
    share = mixed["mix"].numpy()[:, :1]
    assert 0 < share.min() < share.max() < 1
    pairs = np.arange(BATCH) ^ 1
    labels = labels.numpy()
    np.testing.assert_allclose(
        mixed_labels, share * labels + (1 - share) * labels[pairs], rtol=1e-6
    )
    pixels, share = images.numpy().astype(np.float32), share[..., None, None]
    seen = datasets.augmented(passing_on())(mixed, training=True)
    np.testing.assert_allclose(seen, share * pixels + (1 - share) * pixels[pairs], rtol=1e-5)
    odd = {name: value[:15] for name, value in mixed.items()}
    with pytest.raises(UserError, match="a device gets 15 of each batch"):
        datasets.augmented(passing_on())(odd, training=True)


def test_what_is_trained_and_saved_is_the_plain_model(striped, tmp_path):
    keras.utils.set_random_seed(0)
    model = classifier()
    before = [weight.numpy() for weight in model.weights]
    trained = datasets.augmented(model)
    trained.compile("adam", "binary_crossentropy", metrics=["accuracy"], jit_compile=False)
    trained.fit(
        datasets.training(striped, global_batch_size=BATCH, augment="light"),
        steps_per_epoch=datasets.steps_per_epoch(striped, global_batch_size=BATCH),
        epochs=2,
        validation_data=datasets.evaluation(striped),
        class_weight=datasets.class_weights(striped),
        callbacks=[
            keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
            keras.callbacks.ModelCheckpoint(tmp_path / "best.weights.h5", save_weights_only=True),
        ],
        verbose=0,
    )
    assert any((old != new.numpy()).any() for old, new in zip(before, model.weights, strict=True))
    images, _ = next(iter(datasets.evaluation(striped)))
    expected = model(images).numpy()
    np.testing.assert_allclose(trained.predict(images, verbose=0), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        keras.models.load_model(tmp_path / "best.keras")(images), expected
    )
    again = classifier()
    again.load_weights(tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(again(images), expected)
    assert "engine" not in model.to_json()


def test_only_keras_models_are_augmented():
    with pytest.raises(UserError, match="takes a Keras model, got function"):
        datasets.augmented(lambda images: images)
