import keras
import numpy as np
import pytest

from engine.training import optimization
from engine.training.optimization import WarmupCosine


def make(name="adamw", **options):
    defaults = {
        "learning_rate": 0.1,
        "schedule": "constant",
        "steps_per_epoch": 10,
        "epochs": 4,
        "warmup_epochs": 1.0,
        "weight_decay": 0.5,
        "ema_momentum": 0.0,
    }
    return optimization.make_optimizer(name, **{**defaults, **options})


def test_the_rate_rises_to_its_peak_then_falls_to_its_end():
    rate = WarmupCosine(0.1, warmup_steps=10, total_steps=40)
    values = np.array([float(rate(step)) for step in range(41)])
    assert values[0] == pytest.approx(0.01)
    assert values.argmax() in (9, 10)
    assert values.max() == pytest.approx(0.1)
    assert (np.diff(values[:10]) > 0).all()
    assert (np.diff(values[10:]) < 0).all()
    assert values[-1] == pytest.approx(0.1 * optimization.FINAL_FRACTION)


def test_warm_up_takes_a_quarter_of_a_short_run_at_most():
    rate = make(schedule="cosine", warmup_epochs=100).learning_rate
    assert rate is not None
    assert make(schedule="cosine", warmup_epochs=100)._learning_rate.warmup_steps == 10


def test_adamw_decays_kernels_but_not_biases():
    kernel = keras.Variable(np.ones(3), name="kernel")
    bias = keras.Variable(np.ones(3), name="bias")
    optimizer = make()
    optimizer.build([kernel, bias])
    optimizer.apply_gradients([(np.zeros(3, np.float32), kernel), (np.zeros(3, np.float32), bias)])
    assert (np.asarray(kernel) < 0.99).all()
    np.testing.assert_allclose(bias, 1)


def test_averaged_weights_lag_behind():
    kernel = keras.Variable(np.zeros(1), name="kernel")
    optimizer = make("adam", ema_momentum=0.9)
    optimizer.build([kernel])
    for _ in range(5):
        optimizer.apply_gradients([(-np.ones(1, np.float32), kernel)])
    trained = float(np.asarray(kernel)[0])
    optimizer.finalize_variable_values([kernel])
    assert 0 < float(np.asarray(kernel)[0]) < trained


def test_the_current_learning_rate_sees_through_loss_scaling():
    assert optimization.current_learning_rate(make(loss_scaling=True)) == pytest.approx(0.1)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_fused_update_is_kerass_adam(steps):
    rng = np.random.default_rng(steps)
    start = rng.normal(size=(7, 3)).astype(np.float32)
    variables = [keras.Variable(start), keras.Variable(start)]
    options = {"learning_rate": 0.01, "weight_decay": 0.1}
    optimizers = [optimization.FusedAdam(**options), keras.optimizers.Adam(**options)]
    for _ in range(steps):
        gradient = rng.normal(size=start.shape).astype(np.float32)
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.apply_gradients([(gradient, variable)])
    fused, spelled_out = ([v, *o.variables] for v, o in zip(variables, optimizers, strict=True))
    assert not np.allclose(fused[0], start, atol=0.005)
    for ours, theirs in zip(fused, spelled_out, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_the_loss_scale_is_among_the_variables_that_checkpoints_hold():
    kernel = keras.Variable(np.ones(2), name="kernel")
    optimizer = make(loss_scaling=True)
    optimizer.build([kernel])
    before = float(np.asarray(optimizer.dynamic_scale))
    optimizer.apply([np.full(2, np.inf, np.float32)], [kernel])
    assert float(np.asarray(optimizer.dynamic_scale)) < before
    assert any(variable is optimizer.dynamic_scale for variable in optimizer.variables)
