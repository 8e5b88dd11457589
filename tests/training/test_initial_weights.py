"""Weights are taken wherever names and shapes agree, and all that is not taken is listed."""

import built_in
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from engine.base.config import UserError
from engine.networks import layer_paths, stock
from engine.networks.training_form import training_form
from engine.runs.run_directory import RunDirectory
from engine.training import checkpoints, initial_weights

SIZE = (24, 32)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SIZE, 1), np.uint8)


def stirred(model, seed=1):
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed_generator" not in variable.path:
            variable.assign(variable.numpy() + random.uniform(-0.2, 0.2, variable.shape))
    return model


def run_of(model, directory):
    """A run whose best epoch holds the model's weights, and whose newest ones are others."""
    run = RunDirectory(directory)
    arrays = {f"best/{i:04d}": v.numpy() for i, v in enumerate(model.variables)}
    arrays |= {f"model/{i:04d}": v.numpy() + 9 for i, v in enumerate(model.variables)}
    names = layer_paths.variable_names(model)
    state = {"names": names, "progress": {"best_epoch": 7}, "rows": []}
    checkpoints.save(run.checkpoints, step=3, arrays=arrays, state=state)
    return run.path


def file_of(model, path, **options):
    stock.StockModel(model, training_form(model, **options), say=lambda line: None).save(path)
    return path


def logits_of(model):
    return np.asarray(training_form(model).network(tf.cast(IMAGES, tf.float32), training=False))


@pytest.mark.parametrize("of", ["run", "file"])
@pytest.mark.parametrize("normalization", ["weight", "batch", "none"])
def test_a_network_starts_where_the_source_ended(tmp_path, of, normalization):
    options = {"image_size": SIZE, "normalization": normalization}
    trained = stirred(built_in.small_model(**options))
    expected = logits_of(trained)
    source = run_of(trained, tmp_path / "run")
    if of == "file":
        source = file_of(trained, tmp_path / "model.keras")
    model = built_in.small_model(**options)
    outcome = initial_weights.take(model, initial_weights.read(source))
    np.testing.assert_allclose(logits_of(model), expected, atol=1e-4)
    assert not outcome.not_taken and not outcome.unused


@pytest.mark.parametrize("of", ["run", "file"])
def test_with_other_classes_all_but_the_head_is_taken(tmp_path, of):
    trained = stirred(built_in.small_model(image_size=SIZE))
    source = run_of(trained, tmp_path / "run")
    if of == "file":
        source = file_of(trained, tmp_path / "model.keras")
    model = built_in.small_model(image_size=SIZE, num_classes=3)
    said = []
    run = RunDirectory(tmp_path / "new")
    initial_weights.start_from(source, model, run, say=said.append)
    name = f"epoch 7 of {source}" if of == "run" else str(source)
    assert said[0].startswith("initial weights: ") and said[0].endswith(f"variables from {name}")
    assert said[1:] == [
        "not taken: logits: kernel [24, 3] here, [24, 1] there, bias [3] here, [1] there"
    ]
    stem = "stem_convolution/bias"
    np.testing.assert_array_equal(
        layer_paths.named_variables(model)[stem], layer_paths.named_variables(trained)[stem]
    )


def test_standardized_kernels_become_plain_ones(tmp_path):
    trained = stirred(built_in.small_model(image_size=SIZE))
    source = initial_weights.read(run_of(trained, tmp_path / "run"))
    model = built_in.small_model(image_size=SIZE, normalization="none")
    assert not initial_weights.take(model, source).not_taken
    np.testing.assert_allclose(logits_of(model), logits_of(trained), atol=1e-4)


def test_a_plain_kernel_with_a_mean_is_not_taken_as_a_standardized_one(tmp_path):
    trained = stirred(built_in.small_model(image_size=SIZE, normalization="none"))
    source = initial_weights.read(run_of(trained, tmp_path / "run"))
    model = built_in.small_model(image_size=SIZE)
    outcome = initial_weights.take(model, source)
    assert "another mean than 0" in outcome.not_taken["stem_convolution/kernel"]
    assert outcome.not_taken["stem_convolution/gain"] == "[4] here, not there"
    assert "stem_convolution/bias" in outcome.taken and "logits/kernel" in outcome.taken


def network(*, name, inside="inside"):
    backbone = keras.Sequential(
        [keras.Input((*SIZE, 1)), layers.Conv2D(4, 3), layers.BatchNormalization()], name=inside
    )
    inputs = keras.Input((*SIZE, 1))
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(backbone(inputs)))
    return keras.Model(inputs, layers.Dense(2)(x), name=name)


@pytest.mark.parametrize("of", ["run", "file"])
def test_layers_without_names_and_nested_models_are_matched(tmp_path, of):
    trained = stirred(network(name="first"))
    source = run_of(trained, tmp_path / "run")
    if of == "file":
        source = file_of(trained, tmp_path / "model.keras")
    model = network(name="second", inside="renamed")
    outcome = initial_weights.take(model, initial_weights.read(source))
    assert not outcome.not_taken and len(outcome.taken) == 8
    np.testing.assert_allclose(logits_of(model), logits_of(trained), atol=1e-5)


def test_what_nothing_fits_is_refused(tmp_path):
    source = initial_weights.read(run_of(stirred(network(name="one")), tmp_path / "run"))
    with pytest.raises(UserError, match=r"no variable of epoch 7 of .*run has the name and shape"):
        initial_weights.take(built_in.small_model(image_size=SIZE), source)


def test_a_killed_start_goes_on_from_the_same_weights_only(tmp_path):
    trained = network(name="one")
    run, new = run_of(trained, tmp_path / "run"), RunDirectory(tmp_path / "new")
    for _ in range(2):
        initial_weights.start_from(run, network(name="two"), new, say=lambda line: None)
    run_of(stirred(trained), tmp_path / "run")
    with pytest.raises(UserError, match="weights have changed"):
        initial_weights.start_from(run, network(name="two"), new, say=lambda line: None)


def test_what_is_no_source_is_refused_before_tensorflow_is_needed(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "weights.h5").write_bytes(b"")
    (tmp_path / "model.keras").write_bytes(b"nonsense")
    for name, said in (
        ("absent", "no such run or file"),
        ("empty", "holds no weights"),
        ("weights.h5", r"expected a run directory or a \.keras file"),
    ):
        with pytest.raises(UserError, match=said):
            initial_weights.check_source(tmp_path / name)
    with pytest.raises(UserError, match="lies in --workdir itself"):
        initial_weights.check_source(tmp_path / "empty", tmp_path / "empty")
    with pytest.raises(UserError, match="lies in --workdir itself"):
        initial_weights.check_source(tmp_path / "model.keras", tmp_path)
    with pytest.raises(UserError, match=r"model\.keras: cannot be loaded"):
        initial_weights.read(tmp_path / "model.keras")


def test_a_run_without_a_finished_epoch_is_refused(tmp_path):
    run = RunDirectory(tmp_path)
    arrays, state = {"model/0000": np.zeros(2)}, {"names": ["dense/bias"], "rows": []}
    checkpoints.save(run.checkpoints, step=3, arrays=arrays, state=state)
    with pytest.raises(UserError, match="none of its epochs has finished"):
        initial_weights.read(tmp_path)


def test_long_lists_are_cut_and_kept_whole_in_the_record(tmp_path):
    outcome = initial_weights.Outcome(
        ["a/kernel"], {f"layer{i}/kernel": "[1] here, not there" for i in range(40)}, []
    )
    source = initial_weights.Source("epoch 1 of run", {})
    lines = initial_weights.summary_lines(outcome, source, tmp_path / "initial_weights.json")
    assert len(lines) == 14 and lines[-1].startswith("and 28 more lines; all is in ")
