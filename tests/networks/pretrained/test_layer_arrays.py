import h5py
import keras
import numpy as np
import pytest

from engine.base.config import UserError
from engine.networks.pretrained import layer_arrays
from engine.networks.pretrained.preprocessing import Preprocessing
from engine.networks.pretrained.weights import Pretraining

TF = Preprocessing.uniform(127.5, 127.5)


def network(channels=3, filters=4, units=2):
    inputs = keras.Input((8, 8, channels))
    x = keras.layers.Conv2D(filters, 3, name="first")(inputs)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(units, name="logits")(x), name="small")


def write_keras_2(model, path):
    """The format of the published weights of keras.applications."""
    layers = [layer for layer in model.layers if layer.weights]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


@pytest.mark.parametrize("suffix", layer_arrays.SUFFIXES)
def test_arrays_of_every_format_go_to_the_layers_of_their_names(tmp_path, suffix):
    source, target = network(units=1), network(units=5)
    path = tmp_path / f"file{suffix}"
    if suffix == ".keras":
        source.save(path)
    elif suffix == ".h5":
        write_keras_2(source, path)
    else:
        source.save_weights(path)
    before = target.get_layer("logits").get_weights()
    Pretraining(TF, lambda: None, dict).load(target, str(path))
    for name in ("first", "normalization"):
        pairs = zip(source.get_layer(name).weights, target.get_layer(name).weights, strict=True)
        for expected, found in pairs:
            np.testing.assert_array_equal(found, expected)
    for value, kept in zip(target.get_layer("logits").get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


def test_the_kernel_of_colour_images_is_folded_for_grey_ones():
    source, target = network(3), network(1)
    arrays = {layer.name: layer.get_weights() for layer in source.layers}
    layer_arrays.assign(target, arrays, TF, source="here")
    kernel = source.get_layer("first").kernel.numpy().sum(axis=2, keepdims=True)
    np.testing.assert_allclose(target.get_layer("first").kernel, kernel, rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_one_line_and_changes_nothing():
    target = network(filters=4)
    before = target.get_weights()
    for source, said in (
        (network(filters=6), "3x3x3x6 6, expected 3x3x3x4 4"),
        (None, "no arrays"),
    ):
        arrays = {} if source is None else {one.name: one.get_weights() for one in source.layers}
        with pytest.raises(UserError, match=f"2 of the 2 layers of small .* first has {said}"):
            layer_arrays.assign(target, arrays, TF, source="--weights x.keras")
    for value, kept in zip(target.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, kept)


@pytest.mark.parametrize("suffix", layer_arrays.SUFFIXES)
def test_a_damaged_file_is_one_line(tmp_path, suffix):
    path = tmp_path / f"file{suffix}"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read") as error:
        layer_arrays.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("imagnet", "no such file; expected imagenet, none"),
        (".", "expected a file ending in .keras"),
    ],
)
def test_what_is_no_file_of_weights_is_told_before_anything_is_built(weights, said):
    with pytest.raises(UserError, match=said):
        Pretraining(TF, lambda: None, dict).check({"weights": weights})
