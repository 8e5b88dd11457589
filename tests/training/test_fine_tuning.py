"""Head first, then the body: what is trained when, at which rate, and that a resume changes nothing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from built_in import small_model
from forked_trainings import losses
from striped_trainings import STEPS, comparable, stop_after, train, with_

from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.networks.training_form import training_form
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, fine_tuning, optimization
from engine.training.losses import cross_entropy_from_logits
from engine.training.training_step import TrainingStep

pytestmark = pytest.mark.usefixtures("undrawn")
SIZE = (16, 16)
BATCH = 8
# 3 epochs, the first of the head alone; batch normalization in the body.
TUNED = with_(
    epochs=3,
    deterministic=True,
    normalization="batch",
    freeze_epochs=1,
    body_rate=0.1,
    freeze_batch_norm=True,
)


def make_plan(pretrained=False, **settings):
    keras.utils.set_random_seed(0)
    network = training_form(
        small_model(image_size=SIZE, normalization="batch", dropout=0.0, depth=3)
    ).network
    return network, fine_tuning.plan(network, TrainConfig(**settings), pretrained=pretrained)


def make_step(optimizer=None, jit_compile=False, clipnorm=1.0, **settings):
    network, tuned = make_plan(**settings)
    optimizer = optimizer or optimization.make_optimizer(
        "adamw",
        learning_rate=0.01,
        schedule="constant",
        steps_per_epoch=10,
        epochs=1,
        warmup_epochs=0.0,
        weight_decay=0.01,
        ema_momentum=0.9,
        rates=tuned.rates,
    )
    optimizer.build(tuned.weights)
    step = TrainingStep(
        network,
        optimizer,
        strategy=tf.distribute.OneDeviceStrategy("/cpu:0"),
        global_batch_size=BATCH,
        class_weights=np.ones(2),
        loss=cross_entropy_from_logits,
        global_clipnorm=clipnorm,
        jit_compile=jit_compile,
        weights=tuned.weights,
        head=tuned.head,
    )
    return network, tuned, step


def batches():
    rng = np.random.default_rng(0)
    labels = np.arange(BATCH) % 2
    images = rng.integers(0, 120, (BATCH, *SIZE, 1)).astype(np.uint8)
    images[labels == 1, : SIZE[0] // 2] += 100
    return iter(tf.data.Dataset.from_tensors({"image": images, "label": labels}).repeat())


def values(variables):
    return {variable.path: variable.numpy() for variable in variables}


def changed(before, after):
    return {path for path in before if (before[path] != after[path]).any()}


def test_without_settings_everything_is_trained_alike():
    network, tuned = make_plan()
    assert list(map(id, tuned.weights)) == list(map(id, network.trainable_variables))
    assert not tuned.rates.factors
    assert tuned.described(epochs=3) is None


def test_steps_of_the_head_change_the_head_alone():
    network, tuned, step = make_step(freeze_epochs=1, freeze_batch_norm=True)
    before = values(network.variables)
    step.run(batches(), 3, head_only=True)
    after = values(network.variables)
    assert changed(before, after) == {"logits/kernel", "logits/bias"}
    step.run(batches(), 3)
    moved = changed(before, values(network.variables))
    assert moved == {variable.path for variable in tuned.weights}


def test_the_backward_pass_of_the_body_is_not_computed_in_steps_of_the_head():
    _, _, step = make_step(freeze_epochs=1)

    def operations(execute):
        traced = execute.get_concrete_function(batches(), tf.constant(1), tf.constant(0.0))
        graphs = [traced.graph, *(f.graph for f in traced.graph._functions.values())]
        return [operation.type for graph in graphs for operation in graph.get_operations()]

    head, all_of_it = operations(step._execute_head), operations(step._execute)
    assert "Conv2DBackpropFilter" in all_of_it
    assert "Conv2DBackpropFilter" not in head
    assert "Conv2DBackpropInput" not in head


def test_what_lies_before_a_layer_stays_as_it_is_for_good():
    network, _, step = make_step(fine_tune_from="stage2_in")
    before = values(network.variables)
    step.run(batches(), 2)
    moved = changed(before, values(network.variables))
    assert {path.split("_")[0].split("/")[0] for path in moved} == {"stage2", "logits"}


def test_none_trains_the_head_alone():
    network, tuned, step = make_step(fine_tune_from="none", freeze_epochs=2)
    before = values(network.variables)
    step.run(batches(), 2)
    assert changed(before, values(network.variables)) == {"logits/kernel", "logits/bias"}
    assert tuned.freeze_epochs == 0  # one phase is enough


def test_an_unknown_layer_is_an_error():
    with pytest.raises(UserError, match=r"--fine-tune-from: the network has no layer 'stage9'"):
        make_plan(fine_tune_from="stage9")


@pytest.mark.parametrize("pretrained", [False, True])
@pytest.mark.parametrize("given", [None, False, True])
def test_batch_normalization_of_pretrained_networks_keeps_its_statistics_by_default(
    pretrained, given
):
    _, tuned = make_plan(pretrained=pretrained, freeze_batch_norm=given)
    assert bool(tuned.frozen_normalizations) == (pretrained if given is None else given)


def test_frozen_batch_normalization_goes_by_its_statistics_and_learns_gamma_and_beta():
    network, _, step = make_step(freeze_batch_norm=True)
    images = np.random.default_rng(0).integers(0, 256, (4, *SIZE, 1)).astype(np.float32)
    np.testing.assert_array_equal(network(images, training=True), network(images, training=False))
    before = values(network.variables)
    step.run(batches(), 2)
    moved = changed(before, values(network.variables))
    assert any(path.endswith("/gamma") for path in moved)
    assert not any("/moving_" in path for path in moved)


def test_rates_fall_from_stage_to_stage():
    _, tuned = make_plan(body_rate=0.5, layer_decay=0.1)
    factors = {
        weight.path: factor
        for weight, factor in zip(tuned.weights, tuned.rates.factors, strict=True)
    }
    assert factors["logits/kernel"] == 1
    assert factors["stage2_in_convolution/kernel"] == pytest.approx(0.05)
    assert factors["stage1_in_convolution/kernel"] == pytest.approx(0.005)
    assert factors["stem_convolution/kernel"] == pytest.approx(0.0005)


@pytest.mark.parametrize("clipnorm", [0.0, 0.01])
def test_a_lower_rate_makes_smaller_steps_in_the_same_direction(clipnorm):
    network, _, whole = make_step(clipnorm=clipnorm)
    start = values(network.variables)
    whole.run(batches(), 1)
    full = values(network.variables)
    network, tuned, slower = make_step(body_rate=0.25, clipnorm=clipnorm)
    slower.run(batches(), 1)
    for weight, factor in zip(tuned.weights, tuned.rates.factors, strict=True):
        path = weight.path
        expected = factor * (full[path] - start[path])
        np.testing.assert_allclose(weight.numpy() - start[path], expected, rtol=1e-3, atol=1e-7)


def test_a_weight_that_waited_makes_the_first_steps_of_an_adam_of_its_own():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(9, 3)).astype(np.float32)
    head, body, alone = (keras.Variable(np.zeros(3), name="kernel") for _ in range(3))
    rates = fine_tuning.WeightRates(factors=(1.0, 0.5), waiting=(False, True))
    optimizer = optimization.FusedAdam(0.01, rates=rates)
    optimizer.build([head, body])
    for gradient in gradients[:4]:
        optimizer.apply_gradients([(gradient, head)])
    expected = keras.optimizers.Adam(0.005)
    for gradient in gradients[4:]:
        optimizer.apply_gradients([(gradient, head), (gradient, body)])
        expected.apply_gradients([(gradient, alone)])
    np.testing.assert_allclose(body, alone, rtol=1e-5, atol=1e-8)


def test_the_rate_of_a_weight_that_waited_rises_as_the_schedules_did():
    body, head = keras.Variable(np.zeros(1), name="kernel"), keras.Variable(np.zeros(1))
    rates = fine_tuning.WeightRates(factors=(1.0, 1.0), waiting=(False, True), warmup_steps=4)
    optimizer = optimization.FusedAdam(0.01, rates=rates)
    optimizer.build([head, body])
    one = np.ones(1, np.float32)
    for _ in range(3):
        optimizer.apply_gradients([(one, head)])
    places = []
    for _ in range(6):
        optimizer.apply_gradients([(one, head), (one, body)])
        places.append(-float(body.numpy()[0]))
    np.testing.assert_allclose(
        np.diff([0, *places]), 0.01 * np.array([0.25, 0.5, 0.75, 1, 1, 1]), rtol=1e-3
    )


def test_averages_of_weights_that_wait_are_the_weights():
    body, head = keras.Variable(np.full(1, 0.1), name="kernel"), keras.Variable(np.zeros(1))
    rates = fine_tuning.WeightRates(factors=(1.0, 1.0), waiting=(False, True))
    optimizer = optimization.FusedAdam(0.01, rates=rates, use_ema=True, ema_momentum=0.9)
    optimizer.build([head, body])
    for _ in range(20):
        optimizer.apply_gradients([(np.ones(1, np.float32), head)])
    trained = body.numpy()
    optimizer.finalize_variable_values([head, body])
    np.testing.assert_array_equal(body, trained)


@pytest.mark.parametrize(
    ("schedule", "stop"),
    [
        ("cosine", STEPS),
        pytest.param("cosine", STEPS - 2, marks=pytest.mark.slow),
        pytest.param("constant", STEPS + 2, marks=pytest.mark.slow),
    ],
)
def test_a_run_stopped_around_the_end_of_the_head_alone_resumes_to_the_bit(
    striped, undisturbed, tmp_path, schedule, stop
):
    config = with_(TUNED, schedule=schedule, warmup_epochs=0.5)
    whole, run = undisturbed(config)
    train(striped, tmp_path / "parts", config, should_stop=stop_after(stop))
    resumed = train(striped, tmp_path / "parts", config, resume=True)
    assert comparable(resumed.history) == comparable(whole.history)
    one, other = (
        checkpoints.load_newest(RunDirectory(path).checkpoints)
        for path in (run.path, tmp_path / "parts")
    )
    assert one.arrays.keys() == other.arrays.keys()
    for key, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[key])


def test_steps_run_together_end_at_the_boundary(striped, undisturbed, tmp_path):
    config = with_(TUNED, schedule="cosine", warmup_epochs=0.5)
    whole, _ = undisturbed(config)
    together = train(striped, tmp_path / "run", with_(config, steps_per_execution="4"))
    assert comparable(together.history) == comparable(whole.history)


@pytest.mark.slow
def test_devices_share_the_work_of_both_phases(striped, tmp_path):
    one, two = losses(
        striped,
        tmp_path,
        (1, 2),
        **{"freeze_epochs": 1, "body_rate": 0.1, "freeze_batch_norm": True},
        normalization="batch",
        layer_decay=0.7,
    )
    np.testing.assert_allclose(one, two, rtol=1e-4)
