import keras
import numpy as np
import pytest

from engine.base import counter_random
from engine.networks import models
from engine.training import runtime

SIZE = (48, 40)


def build(name="cnn", num_classes=2, **options):
    options = {"depth": 3, "width": 4, **options}
    return models.build_model(name, image_size=SIZE, channels=1, num_classes=num_classes, **options)


def images(count=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SIZE, 1), dtype=np.uint8)


@pytest.mark.parametrize("normalization", ["weight", "batch", "group", "none"])
def test_a_cnn_takes_uint8_and_gives_one_probability_for_two_classes(normalization):
    outputs = build(normalization=normalization)(images()).numpy()
    assert outputs.shape == (3, 1)
    assert outputs.dtype == np.float32
    assert ((outputs >= 0) & (outputs <= 1)).all()


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_more_classes_get_a_softmax(name):
    outputs = build(name, num_classes=4)(images()).numpy()
    assert outputs.shape == (3, 4)
    np.testing.assert_allclose(outputs.sum(1), 1, rtol=1e-5)


def test_a_sigmoid_for_more_than_two_classes_is_refused():
    with pytest.raises(ValueError, match="3"):
        build(num_classes=3, head="sigmoid")


def test_too_many_stages_for_the_image_are_refused():
    with pytest.raises(ValueError, match="depth 7"):
        build(depth=7)


def test_depth_and_width_and_blocks_make_the_network_larger():
    count = build().count_params()
    assert build(depth=4).count_params() > count
    assert build(width=8).count_params() > count
    assert build(blocks=2).count_params() > count > build(blocks=0).count_params()


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_a_saved_model_gives_the_same_probabilities(name, tmp_path):
    model = build(name)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images()), again(images()))


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_the_training_model_shares_weights_and_gives_the_logits(name):
    model = build(name)
    network = models.training_model(model)
    logits = np.asarray(network(images().astype(np.float32)))
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), model(images()), atol=1e-6)
    network.trainable_variables[0].assign(network.trainable_variables[0] * 0 + 0.1)
    changed = np.asarray(network(images().astype(np.float32)))
    np.testing.assert_allclose(1 / (1 + np.exp(-changed)), model(images()), atol=1e-6)


def test_the_named_layers_are_there():
    for name in ("cnn", "tutorial"):
        for layer in ("pixels", "last_convolution", "logits"):
            assert build(name).get_layer(layer) is not None


def test_standardizing_takes_exposure_and_contrast_away():
    layer = models.Standardize(2)
    pixels = images().astype(np.float32)
    plain, changed = np.asarray(layer(pixels)), np.asarray(layer(pixels * 0.5 + 40))
    assert plain.shape == (3, SIZE[0] // 2, SIZE[1] // 2, 1)
    np.testing.assert_allclose(plain, changed, atol=0.3)
    assert np.isfinite(np.asarray(layer(np.zeros_like(pixels)))).all()


def test_a_standardized_kernel_has_zero_mean_and_one_variance_over_fan_in():
    layer = models.StandardizedConv2D(5, 3)
    layer.build((None, 8, 8, 4))
    kernel = np.asarray(layer.standardized_kernel()) / models.StandardizedConv2D._RELU_GAIN
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(kernel.var((0, 1, 2)) * 36, 1, rtol=0.01)


def test_a_mixed_precision_model_gives_float32_probabilities():
    with runtime.dtype_policy("mixed_bfloat16"):
        model = build()
    assert model(images()).dtype == "float32"
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)
    assert keras.config.dtype_policy().name == "float32"


def test_keyed_dropout_goes_with_the_example_and_not_with_its_batch():
    layer = models.KeyedDropout(0.25, name="dropout")
    features = np.ones((1000, 40), np.float32)
    keys = counter_random.row_keys(np.arange(1000), seed=1, epoch=0)
    with models.keyed(keys):
        dropped = layer(features, training=True).numpy()
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((dropped == 0).mean() - 0.25) < 0.01
    assert np.abs(np.corrcoef(dropped[:, :20].T) - np.eye(20)).max() < 0.15
    with models.keyed(keys[500:600]):
        np.testing.assert_array_equal(layer(features[:100], training=True), dropped[500:600])
    other = models.KeyedDropout(0.25, name="other")
    with models.keyed(keys):
        assert (other(features, training=True).numpy() != dropped).mean() > 0.3


def test_keyed_dropout_works_without_keys_and_not_at_inference():
    layer = models.KeyedDropout(0.25)
    features = np.ones((1000, 40), np.float32)
    np.testing.assert_array_equal(layer(features), features)
    one, two = (layer(features, training=True).numpy() for _ in range(2))
    assert abs((one == 0).mean() - 0.25) < 0.02
    assert (one != two).mean() > 0.3


@pytest.mark.parametrize("name", ["cnn", "tutorial"])
def test_a_resizing_network_takes_the_shards_size_and_works_on_the_smaller(name, tmp_path):
    model = build(name, resized_to=(24, 20))
    assert model.input_shape == (None, *SIZE, 1)
    assert model.get_layer("resize").output.shape[1:3] == (24, 20)
    assert models.training_model(model).input_shape == (None, *SIZE, 1)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(images()), again(images()))


@pytest.mark.parametrize("size", [(24, 20), (48, 40), (31, 17)])
def test_averaging_down_keeps_the_mean_and_is_a_pooling_at_whole_factors(size):
    pixels = images().astype(np.float32)
    small = models.AreaResize(*size)(pixels).numpy()
    assert small.shape == (3, *size, 1)
    np.testing.assert_allclose(small.mean((1, 2)), pixels.mean((1, 2)), rtol=1e-4)
    if size == (24, 20):
        pooled = pixels.reshape(3, 24, 2, 20, 2, 1).mean((2, 4))
        np.testing.assert_allclose(small, pooled, rtol=1e-4)


def test_averaging_down_has_no_aliases():
    stripes = np.zeros((1, *SIZE, 1), np.float32)
    stripes[:, ::2] = 255
    small = models.AreaResize(12, 10)(stripes).numpy()
    np.testing.assert_allclose(small, 127.5, rtol=1e-5)


def test_images_are_not_made_larger():
    with pytest.raises(ValueError, match=r"--image-size 64x40 .* 48x40"):
        build(resized_to=(64, 40))


def test_the_largest_depth_is_the_one_that_builds():
    for size in (16, 40, 64, 224):
        depth = models.largest_depth((size, size))
        options = {"image_size": (size, size), "channels": 1, "num_classes": 2, "width": 4}
        models.build_model("cnn", depth=depth, blocks=0, **options)
        with pytest.raises(ValueError, match="--depth"):
            models.build_model("cnn", depth=depth + 1, blocks=0, **options)
