import keras
import numpy as np
import pytest
import tensorflow as tf

from engine.base import counter_random
from engine.networks import keyed_dropout


def model_of(*layers, shape=(40,)):
    model = keras.Sequential([keras.Input(shape), *layers])
    keyed_dropout.draw_by_keys(model)
    return model


def keys(count=1000):
    return counter_random.row_keys(np.arange(count), seed=1, epoch=0)


def dropped(model, features, some_keys):
    with keyed_dropout.keyed(some_keys):
        return np.asarray(model(features, training=True))


def test_a_mask_goes_with_the_example_and_not_with_its_batch():
    features = np.ones((1000, 40), np.float32)
    outputs = dropped(model_of(keras.layers.Dropout(0.25)), features, keys())
    assert set(np.unique(outputs)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((outputs == 0).mean() - 0.25) < 0.01
    assert np.abs(np.corrcoef(outputs[:, :20].T) - np.eye(20)).max() < 0.15
    part = dropped(model_of(keras.layers.Dropout(0.25)), features[:100], keys()[500:600])
    np.testing.assert_array_equal(part, outputs[500:600])


def test_layers_draw_apart_and_names_do_not_depend_on_earlier_models():
    def both():
        model = model_of(keras.layers.Dropout(0.5), keras.layers.Dropout(0.5))
        return [dropped(keras.Sequential([layer]), features, keys()) for layer in model.layers]

    features = np.ones((1000, 40), np.float32)
    (first, second), again = both(), both()
    assert (first != second).mean() > 0.3
    np.testing.assert_array_equal([first, second], again)


@pytest.mark.parametrize(
    ("layer", "same_along"),
    [
        (keras.layers.Dropout(0.5), ()),
        (keras.layers.SpatialDropout2D(0.5), (1, 2)),
        (keras.layers.SpatialDropout2D(0.5, data_format="channels_first"), (2, 3)),
        (keras.layers.Dropout(0.5, noise_shape=(None, 1, 4, 1)), (1, 3)),
    ],
)
def test_masks_of_feature_maps_have_the_layers_shape(layer, same_along):
    outputs = dropped(
        model_of(layer, shape=(6, 4, 5)), np.ones((50, 6, 4, 5), np.float32), keys(50)
    )
    assert 0.3 < (outputs == 0).mean() < 0.7
    for axis in (1, 2, 3):
        constant = (outputs == outputs.take([0], axis)).all()
        assert constant == (axis in same_along)


def test_dropout_in_nested_models_and_own_layers_is_found():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dropout = keras.layers.Dropout(0.5)

        def call(self, inputs, training=False):
            return self.dropout(inputs, training=training)

    nested = keras.Sequential([keras.layers.Dropout(0.5)])
    model = keras.Sequential([keras.Input((40,)), nested, Block()])
    by_keys, others = keyed_dropout.draw_by_keys(model)
    assert len(by_keys) == 2 and not others
    features = np.ones((10, 40), np.float32)
    np.testing.assert_array_equal(
        dropped(model, features, keys(10)), dropped(model, features, keys(10))
    )


def test_without_keys_and_at_inference_layers_work_as_ever():
    model = model_of(keras.layers.Dropout(0.25))
    features = np.ones((1000, 40), np.float32)
    np.testing.assert_array_equal(model(features), features)
    one, two = (np.asarray(model(features, training=True)) for _ in range(2))
    assert abs((one == 0).mean() - 0.25) < 0.02
    assert (one != two).mean() > 0.3
    np.testing.assert_array_equal(dropped(model_of(keras.layers.Dropout(1.0)), features, keys()), 0)


def test_what_draws_from_a_state_of_its_own_is_named():
    model = keras.Sequential(
        [
            keras.Input((40,)),
            keras.layers.GaussianNoise(0.1, name="noise"),
            keras.layers.Dropout(0.5, noise_shape=(1, 40), name="one_mask"),
            keras.layers.Dropout(0.5),
            keras.layers.Dropout(0.0),
        ]
    )
    by_keys, others = keyed_dropout.draw_by_keys(model)
    assert len(by_keys) == 1
    assert others == ["noise", "one_mask"]


def test_a_layer_at_two_places_drops_apart_and_the_same_again_in_the_next_pass():
    layer = keras.layers.Dropout(0.5, name="shared")
    inputs = keras.Input((40,))
    model = keras.Model(inputs, [layer(inputs), layer(inputs)])
    keyed_dropout.draw_by_keys(model)
    features = np.ones((100, 40), np.float32)
    first, second = dropped(model, features, keys(100))
    assert 0.4 < (first != second).mean() < 0.6
    np.testing.assert_array_equal([first, second], dropped(model, features, keys(100)))
    alone = model_of(keras.layers.Dropout(0.5, name="shared"))
    as_before = dropped(alone, features, keys(100))
    # Keras runs the second of two outputs first.
    assert (as_before == first).all() or (as_before == second).all()


def folding_model(sizes):
    """Dropout over the rows of images [4, 10], as examples of their own."""
    inputs = keras.Input((4, 10))
    rows = keras.layers.Dropout(0.5, name="rows")(keras.ops.reshape(inputs, (-1, 10)))
    whole = keras.ops.reshape(rows, sizes)
    return keras.Model(inputs, keras.layers.Dropout(0.5, name="whole")(whole))


def test_dropout_behind_a_folded_batch_draws_as_keras_does_and_is_named():
    model = folding_model((-1, 4, 10))
    assert keyed_dropout.draw_by_keys(model) == (["whole"], ["rows"])
    for count in (1, 6):
        outputs = dropped(model, np.ones((count, 4, 10), np.float32), keys(count))
        assert outputs.shape == (count, 4, 10)
    outputs = dropped(model, np.ones((200, 4, 10), np.float32), keys(200))
    assert set(np.unique(outputs)) == {0, 4}
    assert abs((outputs == 0).mean() - 0.75) < 0.02


@pytest.mark.parametrize(
    "combine",
    [
        lambda x: keras.ops.mean(x, axis=0),
        lambda x: keras.ops.mean(x, axis=0, keepdims=True),
        lambda x: keras.ops.einsum("bij->ijb", x),
    ],
)
def test_dropout_behind_operations_that_lose_the_batch_axis_has_no_keys(combine):
    inputs = keras.Input((4, 10))
    model = keras.Model(inputs, keras.layers.Dropout(0.5, name="rows")(combine(inputs)))
    assert keyed_dropout.draw_by_keys(model) == ([], ["rows"])


def test_dropout_behind_operations_on_each_example_goes_by_keys():
    inputs = keras.Input((4, 10))
    x = inputs / 2 - keras.ops.mean(inputs, axis=(1, 2), keepdims=True)
    x = keras.ops.einsum("oi,bij->boj", np.ones((3, 4), np.float32), x)
    model = keras.Model(inputs, keras.layers.Dropout(0.5, name="rows")(x))
    assert keyed_dropout.draw_by_keys(model) == (["rows"], [])
    features = np.random.default_rng(0).normal(size=(50, 4, 10)).astype(np.float32)
    whole = dropped(model, features, keys(50))
    np.testing.assert_allclose(dropped(model, features[:5], keys(50)[:5]), whole[:5], rtol=1e-5)


def test_rows_of_an_unknown_number_are_counted_when_the_step_runs():
    class Fold(keras.layers.Layer):
        def call(self, inputs):
            rows = tf.reshape(inputs, (-1, 10))
            return tf.boolean_mask(rows, rows[:, 0] > 0)

        def compute_output_shape(self, shape):
            return (None, 10)

    inputs = keras.Input((4, 10))
    model = keras.Model(inputs, keras.layers.Dropout(0.5, name="rows")(Fold()(inputs)))
    keyed_dropout.draw_by_keys(model)
    run = tf.function(
        lambda features, some_keys: dropped_graph(model, features, some_keys), autograph=False
    ).get_concrete_function(
        tf.TensorSpec((None, 4, 10), tf.float32), tf.TensorSpec((None,), tf.uint64)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"rows gets another number of rows"):
        run(tf.ones((6, 4, 10)), keys(6))


def dropped_graph(model, features, some_keys):
    with keyed_dropout.keyed(some_keys):
        return model(features, training=True)
