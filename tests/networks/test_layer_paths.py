"""Two builds of one network name their variables alike, whatever was built before."""

import keras
from keras import layers

from engine.networks import layer_paths


def network():
    backbone = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()], name="inside"
    )
    inputs = keras.Input((8, 8, 3))
    x = backbone(inputs)
    x = layers.Conv2D(4, 3)(layers.Conv2D(4, 3, name="named")(x))
    x = layers.Dropout(0.5)(layers.Conv2D(2, 1)(x))
    return keras.Model(inputs, layers.Dense(1)(layers.Flatten()(x)))


def test_names_do_not_depend_on_what_the_process_built_before():
    first = layer_paths.named_variables(network())
    again = network()
    second = layer_paths.named_variables(again)
    assert list(first) == list(second)
    assert list(second) == [
        "inside/conv2d/kernel",
        "inside/conv2d/bias",
        "inside/batch_normalization/gamma",
        "inside/batch_normalization/beta",
        "inside/batch_normalization/moving_mean",
        "inside/batch_normalization/moving_variance",
        "named/kernel",
        "named/bias",
        "conv2d/kernel",
        "conv2d/bias",
        "conv2d_1/kernel",
        "conv2d_1/bias",
        "dense/kernel",
        "dense/bias",
    ]


def test_every_variable_has_a_name_of_its_own_and_random_states_are_left_out():
    model = network()
    names = layer_paths.variable_names(model)
    assert len(names) == len(set(names)) == len(model.variables)
    assert names.count(None) == 1  # of dropout
    assert set(names) - {None} == set(layer_paths.named_variables(model))
