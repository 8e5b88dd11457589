import keras
import pytest
from built_in import small_model

from engine.base.config import UserError
from engine.networks import parts
from engine.networks.training_form import training_form


def network_of(**settings):
    model = small_model(image_size=(32, 32), normalization="batch", **settings)
    return training_form(model).network


def nested():
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(4, 3, strides=2, name="first")(image)
    x = keras.layers.Conv2D(4, 3, strides=2, name="second")(x)
    body = keras.Model(image, x, name="body")
    x = keras.layers.Flatten()(body(image))
    x = keras.layers.Dense(8, name="hidden")(x)
    outputs = keras.layers.Dense(1, activation="sigmoid", name="last")(x)
    return training_form(keras.Model(image, outputs)).network


class Coded(keras.Model):
    def __init__(self):
        super().__init__()
        self.convolution = keras.layers.Conv2D(4, 3, name="convolution")
        self.pool = keras.layers.GlobalAveragePooling2D()
        self.dense = keras.layers.Dense(1, name="last")

    def call(self, images):
        return self.dense(self.pool(self.convolution(images)))


def weighted(network):
    found = parts.places(network)
    return {
        place.path.rpartition("/")[2]: place.stages_to_head
        for place in found
        if parts.own_weights(place.layer)
    }


def test_every_weight_belongs_to_one_place():
    for network in (network_of(depth=3), nested()):
        own = [w for place in parts.places(network) for w in parts.own_weights(place.layer)]
        assert sorted(map(id, own)) == sorted(map(id, network.trainable_variables))


def test_the_head_begins_at_the_last_dense_layer():
    assert [name for name, stages in weighted(network_of()).items() if not stages] == ["logits"]
    assert [name for name, stages in weighted(nested()).items() if not stages] == ["last"]


def test_stages_are_counted_from_the_head_and_end_where_the_map_gets_smaller():
    stages = weighted(network_of(depth=3))
    assert {stages[name] for name in stages if name.startswith("stage2")} == {1}
    assert {stages[name] for name in stages if name.startswith("stage1")} == {2}
    assert stages["stem_convolution"] == stages["stem_normalization"] == 3
    assert weighted(nested()) == {"first": 2, "second": 1, "hidden": 1, "last": 0}


def test_a_model_in_code_has_a_head_and_a_body_of_one_stage():
    form = training_form(Coded(), image_shape=(16, 16, 1), outputs="logits")
    assert weighted(form.network) == {"convolution": 1, "last": 0}


def test_without_a_dense_layer_the_last_layer_with_weights_is_the_head():
    image = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(4, 3, name="first")(image)
    x = keras.layers.Conv2D(1, 1, name="second")(x)
    model = keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))
    network = training_form(model, outputs="logits").network
    assert weighted(network) == {"first": 1, "second": 0}


def test_layers_are_found_by_path_by_name_and_by_its_beginning():
    found = parts.places(nested())
    second = parts.find(found, "second")
    assert parts.find(found, found[second].path) == second
    assert parts.find(found, "sec") == second


def test_an_unknown_layer_is_named_in_one_line_with_what_is_close():
    with pytest.raises(UserError, match=r"no layer 'secnd'; did you mean 'second'") as error:
        parts.find(parts.places(nested()), "secnd")
    assert "\n" not in str(error.value)
