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


@pytest.mark.parametrize("loss_scaling", [False, True])
def test_a_constant_rate_is_reduced_down_to_the_least_and_stays_there(loss_scaling):
    optimizer = make(loss_scaling=loss_scaling)
    rates = []
    for _ in range(4):
        reduced = optimization.reduce_learning_rate(optimizer, 0.3, least=0.02)
        rates.append((reduced, optimization.current_learning_rate(optimizer)))
    assert [reduced for reduced, _ in rates] == [True, True, False, False]
    assert [rate for _, rate in rates] == pytest.approx([0.03, 0.02, 0.02, 0.02])


def test_a_rate_below_the_least_is_not_raised_to_it():
    optimizer = make(learning_rate=1e-4)  # as a divergence may leave it
    assert not optimization.reduce_learning_rate(optimizer, 0.3, least=0.02)
    assert optimization.current_learning_rate(optimizer) == pytest.approx(1e-4)


def test_rates_agree_with_kerass_own_reduction():
    optimizer, model = make(learning_rate=1e-3), keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.optimizer.learning_rate = 1e-3
    theirs = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=1, min_lr=1e-5, verbose=0)
    theirs.set_model(model)
    theirs.on_train_begin()
    for epoch in range(8):
        theirs.on_epoch_end(epoch, {"val_loss": 1.0})
        if epoch:
            optimization.reduce_learning_rate(optimizer, 0.3, least=1e-5)
        rate = optimization.current_learning_rate(optimizer)
        assert rate == pytest.approx(float(model.optimizer.learning_rate), rel=1e-6)
    assert rate == pytest.approx(1e-5)


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
