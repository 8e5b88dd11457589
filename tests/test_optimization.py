import keras
import numpy as np
import pytest

from engine import optimization
from engine.optimization import WarmupCosine


def make(name="adamw", **options):
    defaults = {
        "learning_rate": 0.1,
        "schedule": "constant",
        "steps_per_epoch": 10,
        "epochs": 4,
        "warmup_epochs": 1.0,
        "weight_decay": 0.5,
        "ema": 0.0,
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
    optimizer = make("adam", ema=0.9)
    optimizer.build([kernel])
    for _ in range(5):
        optimizer.apply_gradients([(-np.ones(1, np.float32), kernel)])
    trained = float(np.asarray(kernel)[0])
    optimizer.finalize_variable_values([kernel])
    assert 0 < float(np.asarray(kernel)[0]) < trained


def test_the_current_learning_rate_sees_through_loss_scaling():
    assert optimization.current_learning_rate(make(loss_scaling=True)) == pytest.approx(0.1)
