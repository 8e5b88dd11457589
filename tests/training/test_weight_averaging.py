import forked_trainings
import keras
import numpy as np
import pytest
from built_in import small_model

from engine.networks.training_form import training_form
from engine.training import optimization, weight_averaging
from engine.training.weight_averaging import FinalWeights, momentum_at

SIZE = (8, 8)


def make_optimizer(*, ema_momentum, **options):
    settings = {"learning_rate": 0.01, "weight_decay": 0.0, "schedule": "constant", **options}
    return optimization.make_optimizer(
        "adam",
        steps_per_epoch=10,
        epochs=1,
        warmup_epochs=0.0,
        ema_momentum=ema_momentum,
        **settings,
    )


def make_network(normalization="batch"):
    keras.utils.set_random_seed(0)
    return training_form(small_model(image_size=SIZE, normalization=normalization)).network


def make_images(count, seed=0):
    """The second half is brighter, so that batches differ in their statistics."""
    images = np.random.default_rng(seed).integers(0, 100, (count, *SIZE, 1)).astype(np.uint8)
    images[count // 2 :] += 100
    return images


def final_weights(network, *, images=None, ema_momentum=0.0):
    optimizer = make_optimizer(ema_momentum=ema_momentum)
    optimizer.build(network.trainable_variables)
    return optimizer, FinalWeights(network, optimizer, load_images=lambda: images)


def statistics_of(network):
    return [v.numpy() for v in network.variables if v.name.startswith("moving")]


def test_the_momentum_rises_from_nothing_to_the_largest():
    values = [float(momentum_at(step, 0.995)) for step in range(5000)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] == pytest.approx(0.995)
    assert [float(momentum_at(step, 0.5)) for step in (1, 100)] == pytest.approx([0.1, 0.5])


@pytest.mark.parametrize("loss_scaling", [False, True])
@pytest.mark.parametrize("steps", [3, 20, 200])
def test_averages_of_a_short_training_have_left_its_start_behind(steps, loss_scaling):
    """With a fixed momentum of 0.995 they stand at 34 %, 10 % and 37 % of the way."""
    weight = keras.Variable(np.zeros(1), name="kernel")
    optimizer = make_optimizer(ema_momentum=0.995, loss_scaling=loss_scaling)
    optimizer.build([weight])
    for _ in range(steps):
        optimizer.apply([-np.ones(1, np.float32)], [weight])
    trained = weight.numpy()[0]
    optimizer.finalize_variable_values([weight])
    assert 0.85 * trained < weight.numpy()[0] < trained


def test_averages_follow_their_formula():
    weight = keras.Variable(np.zeros(3), name="kernel")
    optimizer = make_optimizer(ema_momentum=0.3)
    optimizer.build([weight])
    rng = np.random.default_rng(0)
    expected = np.zeros(3)
    for step in range(8):
        optimizer.apply([rng.normal(size=3).astype(np.float32)], [weight])
        kept = min(0.3, step / (9 + step))
        expected = kept * expected + (1 - kept) * weight.numpy()
    optimizer.finalize_variable_values([weight])
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("ema_momentum", [0.0, 0.995])
def test_from_a_share_of_the_training_on_all_steps_are_averaged_alike(ema_momentum):
    weight = keras.Variable(np.zeros(3), name="kernel")
    optimizer = make_optimizer(ema_momentum=ema_momentum, average_from=0.4)  # of 10 steps
    optimizer.build([weight])
    rng = np.random.default_rng(0)
    values = []
    for _ in range(10):
        optimizer.apply([rng.normal(size=3).astype(np.float32)], [weight])
        values.append(weight.numpy())
    optimizer.finalize_variable_values([weight])
    if ema_momentum:
        # Its window is the longer one of the two until the tail has outgrown it.
        kept = 1 - 1 / np.maximum((9 + np.arange(10)) / 9, np.maximum(np.arange(10) - 4, 0) + 1)
        expected = np.zeros(3)
        for share, value in zip(kept, values, strict=True):
            expected = share * expected + (1 - share) * value
    else:
        expected = np.mean(values[4:], axis=0)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("normalization", ["batch", "weight"])
def test_behind_the_block_the_network_is_as_it_was(normalization):
    network = make_network(normalization)
    optimizer, final = final_weights(network, images=make_images(40), ema_momentum=0.9)
    gradients = [np.ones(v.shape, np.float32) for v in network.trainable_variables]
    for _ in range(3):
        optimizer.apply(gradients, network.trainable_variables)
    before = [variable.numpy() for variable in network.variables]
    with final.in_place():
        inside = [variable.numpy() for variable in network.trainable_variables]
    for one, variable in zip(before, network.variables, strict=True):
        np.testing.assert_array_equal(one, variable.numpy())
    trained = [variable.numpy() for variable in network.trainable_variables]
    assert all((a != b).any() for a, b in zip(inside, trained, strict=True))


def test_images_are_not_loaded_where_there_are_no_statistics():
    network = make_network("weight")
    optimizer, _ = final_weights(network)

    def load():
        raise AssertionError("loaded")

    with FinalWeights(network, optimizer, load_images=load).in_place():
        pass


def test_statistics_are_those_of_all_images_together(monkeypatch):
    monkeypatch.setattr(weight_averaging, "_BATCH", 16)
    inputs = keras.Input((*SIZE, 1))
    normalized = keras.layers.BatchNormalization(momentum=0.99)(inputs)
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(normalized))
    images = make_images(40)
    _, final = final_weights(network, images=images)
    with final.in_place():
        mean, variance = statistics_of(network)
    np.testing.assert_allclose(mean, [images.mean()], rtol=1e-5)
    np.testing.assert_allclose(variance, [images.var()], rtol=1e-4)


@pytest.mark.parametrize("momentum", [0.9, 0.99])
def test_statistics_belong_to_the_weights_that_are_validated(momentum):
    """Inference then gives what training gives for the same images, whatever the moving averages say."""
    network = make_network()
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
    images = make_images(64)
    optimizer, final = final_weights(network, images=images, ema_momentum=0.9)
    rng = np.random.default_rng(0)
    for _ in range(3):
        gradients = [rng.normal(size=v.shape) for v in network.trainable_variables]
        optimizer.apply(gradients, network.trainable_variables)
    dropout = network.get_layer("dropout")
    dropout.rate = 0
    with final.in_place():
        inference = network(images.astype(np.float32), training=False).numpy()
        training = network(images.astype(np.float32), training=True).numpy()
    np.testing.assert_allclose(inference, training, rtol=1e-3, atol=1e-4)


def test_frozen_normalization_keeps_its_statistics():
    network = make_network()
    for layer in network.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    before = statistics_of(network)
    _, final = final_weights(network, images=make_images(40))
    with final.in_place():
        inside = statistics_of(network)
    for one, other in zip(before, inside, strict=True):
        np.testing.assert_array_equal(one, other)


def test_normalization_inside_a_nested_network_is_found():
    inner_input = keras.Input((*SIZE, 1))
    inner = keras.Model(inner_input, keras.layers.BatchNormalization()(inner_input))
    inputs = keras.Input((*SIZE, 1))
    network = keras.Model(inputs, keras.layers.Flatten()(inner(inputs)))
    images = make_images(40)
    _, final = final_weights(network, images=images)
    with final.in_place():
        mean, _ = statistics_of(network)
    np.testing.assert_allclose(mean, [images.mean()], rtol=1e-5)


class _Transferred(keras.layers.Layer):
    """A base with fixed statistics, and a normalization that is trained."""

    def __init__(self):
        super().__init__()
        self.base = keras.layers.BatchNormalization(name="base")
        self.head = keras.layers.BatchNormalization(name="head")

    def call(self, inputs, training=False):
        return self.head(self.base(inputs, training=False), training=training)


def test_normalization_that_is_called_without_training_keeps_its_statistics():
    block = _Transferred()
    inputs = keras.Input((*SIZE, 1))
    network = keras.Model(inputs, keras.layers.Flatten()(block(inputs)))
    block.base.moving_mean.assign([50.0])
    block.base.moving_variance.assign([400.0])
    images = make_images(40)
    _, final = final_weights(network, images=images)
    for _ in range(2):
        with final.in_place():
            assert block.base.moving_mean.numpy() == [50.0]
            assert block.base.moving_variance.numpy() == [400.0]
            mean = block.head.moving_mean.numpy()
        np.testing.assert_allclose(mean, [(images.mean() - 50) / 20], rtol=1e-3)
    assert block.head.moving_mean.numpy() == [0.0]


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.999])
def test_normalization_at_two_places_has_one_pass_statistics(momentum):
    shared = keras.layers.BatchNormalization(momentum=momentum)
    inputs = keras.Input((*SIZE, 1))
    noisy = keras.layers.GaussianNoise(1e-3)(inputs)
    both = keras.layers.Concatenate()([shared(noisy), shared(noisy)])
    network = keras.Model(inputs, keras.layers.Flatten()(both))
    images = make_images(40)
    _, final = final_weights(network, images=images)
    with final.in_place():
        mean, variance = statistics_of(network)
    np.testing.assert_allclose(mean, [images.mean()], rtol=1e-3)
    np.testing.assert_allclose(variance, [images.var()], rtol=1e-3)


@pytest.mark.slow
def test_two_devices_validate_what_one_does(striped, tmp_path):
    one, two = forked_trainings.losses(striped, tmp_path, (1, 2), normalization="batch")
    np.testing.assert_allclose(one, two, rtol=1e-4)
