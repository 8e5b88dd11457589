import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from built_in import small_model

from engine.networks import saved_models
from engine.networks.training_form import training_form
from engine.pipeline import augmentation, mixing
from engine.training import optimization, training_step
from engine.training.losses import cross_entropy_from_logits
from engine.training.training_step import TrainingStep

SIZE = (16, 16)
BATCH = 8


def make_step(*, num_classes=2, optimizer=None, class_weights=None, model=None, **options):
    keras.utils.set_random_seed(0)
    model = model or small_model(image_size=SIZE, num_classes=num_classes, dropout=0.0)
    network = training_form(model).network
    optimizer = optimizer or keras.optimizers.SGD(0.1)
    optimizer.build(network.trainable_variables)
    defaults = {"loss": cross_entropy_from_logits, "global_clipnorm": 0.0, "jit_compile": False}
    step = TrainingStep(
        network,
        optimizer,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        global_batch_size=BATCH,
        class_weights=np.ones(num_classes) if class_weights is None else class_weights,
        **{**defaults, **options},
    )
    return network, step


def make_batch(num_classes=2):
    """Images whose brighter half tells the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(BATCH) % num_classes
    images = rng.integers(0, 120, (BATCH, *SIZE, 1)).astype(np.uint8)
    images[labels == 1, : SIZE[0] // 2] += 100
    return {"image": images, "label": labels.astype(np.int64)}


def repeated(batch):
    return iter(tf.data.Dataset.from_tensors(batch).repeat())


@pytest.mark.parametrize("num_classes", [2, 3])
def test_steps_bring_the_loss_down(num_classes):
    _, step = make_step(num_classes=num_classes)
    batches = repeated(make_batch(num_classes))
    first, _, _ = step.run(batches, 1)
    step.run(batches, 20)
    last, correct, _ = step.run(batches, 1)
    assert last < 0.7 * first
    assert 0 <= correct <= BATCH


def test_the_first_loss_is_that_of_the_untrained_network():
    network, step = make_step()
    batch = make_batch()
    logits = network(batch["image"].astype(np.float32))
    expected = float(tf.reduce_sum(cross_entropy_from_logits(batch["label"], logits)))
    loss, _, _ = step.run(repeated(batch), 1)
    assert loss == pytest.approx(expected, rel=1e-5)


def test_a_mixed_batch_is_learned_from_with_both_labels_by_shares():
    network, step = make_step()
    batch = make_batch()
    drawn = mixing.draw(
        tf.range(BATCH, dtype=tf.int64),
        seed=0,
        epoch=0,
        image_size=SIZE,
        mixing=mixing.Mixing(mixup=1.0, cutmix=1.0),
    )
    logits = network(mixing.apply(batch["image"].astype(np.float32), drawn["mix"]))
    share, labels = mixing.label_share(drawn["mix"]), tf.constant(batch["label"])
    expected = share * cross_entropy_from_logits(labels, logits) + (
        1 - share
    ) * cross_entropy_from_logits(mixing.neighbours(labels), logits)
    loss, _, _ = step.run(repeated({**batch, **drawn}), 1)
    assert loss == pytest.approx(float(tf.reduce_sum(expected)), rel=1e-5)


def test_several_steps_at_once_equal_as_many_single_ones():
    one, together = make_step(), make_step()
    batches = repeated(make_batch())
    singles = [one[1].run(batches, 1)[0].item() for _ in range(3)]
    assert together[1].run(repeated(make_batch()), 3)[0].tolist() == pytest.approx(
        singles, rel=1e-5
    )
    for a, b in zip(one[0].weights, together[0].weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def double_precision_model():
    return keras.Sequential(
        [
            keras.Input((*SIZE, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(1, dtype="float64"),
            keras.layers.Activation("linear", dtype="float32"),
        ]
    )


@pytest.mark.parametrize("make_model", [lambda: None, double_precision_model])
def test_clipping_bounds_the_length_of_a_step(make_model):
    network, step = make_step(
        global_clipnorm=0.01, optimizer=keras.optimizers.SGD(1.0), model=make_model()
    )
    before = [variable.numpy() for variable in network.trainable_variables]
    step.run(repeated(make_batch()), 1)
    moved = [b - v.numpy() for b, v in zip(before, network.trainable_variables, strict=True)]
    assert np.sqrt(sum((m**2).sum() for m in moved)) == pytest.approx(0.01, rel=1e-3)


def test_a_class_of_no_weight_teaches_nothing():
    batch = make_batch()
    batch["label"][:] = 1
    network, step = make_step(class_weights=np.array([1.0, 0.0]))
    before = [variable.numpy() for variable in network.trainable_variables]
    loss, _, _ = step.run(repeated(batch), 1)
    assert loss == 0
    for b, v in zip(before, network.trainable_variables, strict=True):
        np.testing.assert_array_equal(b, v)


def test_predicted_labels_are_the_likelier_class():
    assert training_step.predicted_labels(tf.constant([[-0.1], [0.1]])).numpy().tolist() == [0, 1]
    assert training_step.predicted_labels(tf.constant([[1.0, 3.0, 2.0]])).numpy().tolist() == [1]


def test_predict_covers_every_image_in_order():
    network, step = make_step()
    images = np.random.default_rng(1).integers(0, 256, (300, *SIZE, 1), dtype=np.uint8)
    np.testing.assert_allclose(
        step.predict(images), network(images.astype(np.float32)), rtol=1e-4, atol=1e-5
    )


def make_dense_step(outputs_of, *, make_optimizer=None, strategy=None, **options):
    """A step of a small network, `outputs_of(pixels)` -> logits; see `make_step`."""
    keras.utils.set_random_seed(0)
    strategy = strategy or tf.distribute.OneDeviceStrategy("/cpu:0")
    with strategy.scope():
        inputs = keras.Input((*SIZE, 1))
        outputs = outputs_of(keras.layers.Flatten()(inputs))
        network = training_form(keras.Model(inputs, outputs), outputs="logits").network
        optimizer = make_optimizer() if make_optimizer else keras.optimizers.SGD(0.01)
        optimizer.build(network.trainable_variables)
    defaults = {
        "loss": cross_entropy_from_logits,
        "global_clipnorm": 0.0,
        "jit_compile": False,
        "class_weights": np.ones(2),
    }
    step = TrainingStep(
        network,
        optimizer,
        strategy=strategy,
        global_batch_size=BATCH,
        **{**defaults, **options},
    )
    return network, step


@pytest.mark.parametrize("kind", ["kernel_regularizer", "activity_regularizer"])
def test_losses_of_layers_are_minimized_and_not_reported(kind):
    def outputs_of(pixels):
        return keras.layers.Dense(1, **{kind: keras.regularizers.L2(0.1)})(pixels)

    # Where no class counts, only the regularizer has a gradient.
    network, step = make_dense_step(outputs_of, class_weights=np.zeros(2))
    images = make_batch()["image"].astype(np.float32)
    weights = network.trainable_variables
    before = [variable.numpy() for variable in weights]
    with tf.GradientTape() as tape:
        logits = network(images)
        # Keras divides what activities add by the batch.
        penalized = weights[0] if kind == "kernel_regularizer" else logits / BATCH**0.5
        penalty = 0.1 * tf.reduce_sum(tf.square(penalized))
    gradients = tape.gradient(penalty, [v.value for v in weights], unconnected_gradients="zero")
    loss, _, _ = step.run(repeated(make_batch()), 1)
    assert loss == 0
    for one, gradient, variable in zip(before, gradients, weights, strict=True):
        expected = one - 0.01 * gradient.numpy()
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-3, atol=1e-4)
    assert (weights[0].numpy() != before[0]).any()


class _Unused(keras.layers.Layer):
    """Has a weight that its outputs do not depend on."""

    def build(self, shape):
        self.unused = self.add_weight(shape=(3,), initializer="ones")
        self.scale = self.add_weight(shape=(), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale


def _scaled_loss_optimizer(*, ema_momentum):
    return optimization.make_optimizer(
        "adamw",
        learning_rate=0.01,
        schedule="constant",
        steps_per_epoch=5,
        epochs=1,
        warmup_epochs=0.0,
        weight_decay=0.01,
        ema_momentum=ema_momentum,
        loss_scaling=True,
    )


@pytest.mark.parametrize("ema_momentum", [0.0, 0.9])
def test_weights_without_a_gradient_stay_and_the_others_are_clipped(ema_momentum):
    network, step = make_dense_step(
        lambda pixels: keras.layers.Dense(1)(_Unused()(pixels)),
        make_optimizer=lambda: _scaled_loss_optimizer(ema_momentum=ema_momentum),
        global_clipnorm=0.01,
    )
    before = {variable.path: variable.numpy() for variable in network.trainable_variables}
    with pytest.warns(UserWarning, match="the loss does not depend on"):
        step.run(repeated(make_batch()), 2)
    step._optimizer.finalize_variable_values(network.trainable_variables)
    for variable in network.trainable_variables:
        moved = (variable.numpy() != before[variable.path]).any()
        assert moved == (variable.shape != (3,))


_TWO_DEVICES = """
import sys
sys.path[:0] = ["tests/training", "tests/helpers"]
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import test_training_step as here
here.check_replicas()
here.check_precisions(2, jit_compile=False)
"""
# In a process of its own: another test may have asked for deterministic operations, which cannot be
# taken back, and XLA has no deterministic gradient of a pooling.
_COMPILED = """
import sys
sys.path[:0] = ["tests/training", "tests/helpers"]
import test_training_step as here
here.check_precisions(1, jit_compile=True)
print(*here.losses_with_augmentation(jit_compile=True))
"""


def run_apart(program):
    """Runs a program, which checks by functions of this file; returns its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return done.stdout


def check_replicas():
    """In a process with two logical devices: one and two come to the same weights."""

    def outputs_of(pixels):
        layer = keras.layers.Dense(
            1, kernel_regularizer="l2", activity_regularizer=keras.regularizers.L2(1e-4)
        )
        return layer(_Unused()(pixels / 255))

    weights = []
    for devices in (["/cpu:0"], ["/cpu:0", "/cpu:1"]):
        strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
        network, step = make_dense_step(
            outputs_of,
            strategy=strategy,
            make_optimizer=lambda: _scaled_loss_optimizer(ema_momentum=0.9),
            global_clipnorm=0.1,
        )
        step.run(distributed(step, make_batch()), 3)
        step._optimizer.finalize_variable_values(network.trainable_variables)
        weights.append([variable.numpy() for variable in network.trainable_variables])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


def losses_with_augmentation(*, jit_compile):
    batch = make_batch()
    batch |= augmentation.draw(
        tf.range(BATCH),
        seed=0,
        epoch=0,
        image_size=SIZE,
        strengths=augmentation.PRESETS["strong"],
    )
    _, step = make_step(jit_compile=jit_compile)
    batches = repeated(batch)
    return [step.run(batches, 1)[0].item() for _ in range(3)]


def make_mixed_step(policy, replicas, *, global_clipnorm, class_weights=(1, 1), jit_compile=False):
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    if replicas > 1:
        devices = [f"/cpu:{i}" for i in range(replicas)]
        strategy = tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
    keras.utils.set_random_seed(0)
    with saved_models.dtype_policy(policy), strategy.scope():
        model = small_model(image_size=SIZE, dropout=0.0)
        network = training_form(model).network
        optimizer = optimization.make_optimizer(
            "adamw",
            learning_rate=1e-3,
            schedule="constant",
            steps_per_epoch=5,
            epochs=1,
            warmup_epochs=0.0,
            weight_decay=0.01,
            ema_momentum=0.9,
            loss_scaling=policy == "mixed_float16",
        )
        optimizer.build(network.trainable_variables)
    step = TrainingStep(
        network,
        optimizer,
        strategy=strategy,
        global_batch_size=BATCH,
        class_weights=np.array(class_weights),
        loss=cross_entropy_from_logits,
        global_clipnorm=global_clipnorm,
        jit_compile=jit_compile,
    )
    return network, optimizer, step


def distributed(step, batch):
    dataset = tf.data.Dataset.from_tensors(batch).repeat()
    return iter(step._strategy.experimental_distribute_dataset(dataset))


def check_precisions(replicas, *, jit_compile):
    """Precisions agree, and an overflow skips a step; needs as many logical devices as replicas."""
    losses = {}
    for policy in ("float32", "mixed_bfloat16", "mixed_float16"):
        _, _, step = make_mixed_step(policy, replicas, global_clipnorm=1.0, jit_compile=jit_compile)
        batches = distributed(step, make_batch())
        losses[policy] = [step.run(batches, 1)[0].item() for _ in range(4)]
    np.testing.assert_allclose(losses["mixed_bfloat16"], losses["float32"], rtol=0.02)
    np.testing.assert_allclose(losses["mixed_float16"], losses["float32"], rtol=0.005)
    # To compile a step takes XLA 8 s.
    for global_clipnorm in (1.0,) if jit_compile else (1.0, 0.0):
        check_overflow(replicas, global_clipnorm=global_clipnorm, jit_compile=jit_compile)


def check_overflow(replicas, *, global_clipnorm, jit_compile):
    """The first half of the batch, a replica of its own where there are two, has no gradient."""
    network, optimizer, step = make_mixed_step(
        "mixed_float16",
        replicas,
        global_clipnorm=global_clipnorm,
        class_weights=(0, 1),
        jit_compile=jit_compile,
    )
    batch = make_batch()
    batch["label"] = (np.arange(BATCH) >= BATCH // 2).astype(np.int64)
    batches = distributed(step, batch)
    step.run(batches, 1)
    optimizer.dynamic_scale.assign(2.0**30)
    inner = optimization.inner(optimizer)
    before = [v.numpy() for v in [*network.trainable_variables, *inner.variables]]
    step.run(batches, 1)
    assert optimizer.dynamic_scale.numpy() == 2.0**29
    for one, variable in zip(before, [*network.trainable_variables, *inner.variables], strict=True):
        for copy in step._strategy.experimental_local_results(variable.value):
            np.testing.assert_array_equal(one, copy.numpy(), err_msg=variable.path)
    optimizer.dynamic_scale.assign(2.0**10)
    step.run(batches, 1)
    assert inner.iterations.numpy() == 2
    assert all(np.isfinite(v.numpy()).all() for v in network.trainable_variables)
    assert any(
        (b != v.numpy()).any() for b, v in zip(before, network.trainable_variables, strict=False)
    )


@pytest.mark.slow
def test_every_precision_learns_alike_and_an_overflow_is_skipped():
    check_precisions(1, jit_compile=False)


@pytest.mark.slow
def test_two_devices_add_the_losses_of_layers_once_and_skip_an_overflow_together():
    run_apart(_TWO_DEVICES)


@pytest.mark.slow
def test_a_step_compiled_by_xla_learns_the_same_with_augmentation_before_it_in_every_precision():
    compiled = [float(loss) for loss in run_apart(_COMPILED).split()]
    np.testing.assert_allclose(compiled, losses_with_augmentation(jit_compile=False), rtol=1e-3)
