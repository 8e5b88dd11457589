"""A training learns a teacher's probabilities, which each image carries wherever it stands."""

import shutil
from types import SimpleNamespace

import fake_run
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special
from striped_trainings import comparable, model_weights, stop_after, train, with_

from engine.base import array_files
from engine.base.config import UserError
from engine.inference.predictor import Outputs
from engine.metrics.temperature import Calibration
from engine.pipeline.reading import StoredSplit
from engine.runs import contract
from engine.runs.run_directory import RunDirectory
from engine.shards import tfrecords
from engine.training import runtime, soft_labels, teacher, trainer
from engine.training.distillation import Distillation, soft_cross_entropy


def silent(line):
    """Takes no notice."""


def worker(number=0, of=1, **replaced):
    """What a process runs on."""
    run_on = runtime.Runtime(tf.distribute.get_strategy(), "float32", False, "", number, of)
    return SimpleNamespace(
        **{name: getattr(run_on, name) for name in ("is_chief", "num_workers")}, **replaced
    )


def test_the_soft_loss_is_the_cross_entropy_at_a_temperature():
    random = np.random.default_rng(0)
    known, logits = random.normal(size=(2, 5, 3)).astype(np.float32)
    known = special.log_softmax(known, axis=1)
    found = soft_cross_entropy(tf.constant(known), tf.constant(logits), temperature=3.0)
    targets = special.softmax(known / 3, axis=1)
    expected = -9 * (targets * special.log_softmax(logits / 3, axis=1)).sum(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_sigmoid_learns_what_a_softmax_does(temperature):
    log_odds = np.array([-6.0, 0.3, 25.0], np.float32)
    known = tf.constant(special.log_expit(np.stack([-log_odds, log_odds], axis=1)), tf.float32)
    logits = tf.constant([[-1.0], [0.2], [3.0]])
    both = tf.concat([tf.zeros_like(logits), logits], axis=1)
    one = soft_cross_entropy(known, logits, temperature=temperature)
    two = soft_cross_entropy(known, both, temperature=temperature)
    np.testing.assert_allclose(one, two)
    # The student that says what its teacher says has the smallest loss.
    with tf.GradientTape() as tape:
        student = tf.Variable(log_odds[:, None])
        loss = soft_cross_entropy(known, student, temperature=temperature)
    np.testing.assert_allclose(tape.gradient(loss, student), 0, atol=1e-5)


def test_the_weight_divides_the_loss_between_labels_and_teacher():
    known, logits = tf.math.log([[0.2, 0.8]]), tf.constant([[0.4]])
    labels = tf.constant([2.0])
    soft = soft_cross_entropy(known, logits, temperature=2.0)
    for weight in (0.0, 0.25, 1.0):
        found = Distillation(weight, 2.0).mixed(labels, known, logits)
        np.testing.assert_allclose(found, (1 - weight) * 2 + weight * soft)


def test_log_probabilities_keep_what_probabilities_of_float32_lose():
    log_odds = np.array([-40.0, 0.0, 40.0])
    found = soft_labels.log_probabilities(Outputs(special.expit(log_odds), log_odds))
    np.testing.assert_allclose(found[:, 1] - found[:, 0], log_odds)
    several = special.softmax(np.random.default_rng(0).normal(size=(4, 3)), axis=1)
    found = soft_labels.log_probabilities(Outputs(several, special.logit(several)))
    np.testing.assert_allclose(np.exp(found), several)


@pytest.fixture(scope="module")
def striped_teacher(tmp_path_factory):
    """A run for images of 16 x 16 that sees how bright their first row is."""
    inputs = keras.Input((16, 16, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 32)(inputs)
    x = keras.layers.Cropping2D(((0, 15), (0, 0)))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(1, name="logits", kernel_initializer="ones")(x)
    model = keras.Model(inputs, keras.layers.Activation("sigmoid")(logits))
    return fake_run.make_run(
        tmp_path_factory.mktemp("teacher"),
        class_names=("well", "ill"),
        model=model,
        image_size=(16, 16),
    )


def test_soft_labels_stand_in_the_order_of_the_records_and_are_computed_once(
    striped, striped_teacher, tmp_path
):
    split, run = StoredSplit(striped, "train"), RunDirectory(tmp_path)
    given = {"prior": (0.5, 0.5), "run_on": worker(), "say": silent}
    found = soft_labels.prepare(striped_teacher, split, run, **given)
    means = split.images[:, 0].mean(axis=(1, 2)) / 32
    np.testing.assert_allclose(found[:, 1] - found[:, 0], means, rtol=1e-2)
    _, header = array_files.read(run.soft_labels, version=1)
    assert header["model"] == RunDirectory(striped_teacher).model_digest()
    again = soft_labels.prepare(tmp_path / "gone", split, run, **given)
    np.testing.assert_array_equal(again, found)


def test_a_teacher_is_brought_to_the_prior_of_its_student(striped, striped_teacher, tmp_path):
    split, copy = StoredSplit(striped, "train"), tmp_path / "teacher"
    shutil.copytree(striped_teacher, copy)
    contract.complete(
        RunDirectory(copy),
        threshold=0.5,
        threshold_rule="youden",
        calibration=Calibration(temperature=1.0, prior=(0.8, 0.2)),
    )
    log_odds = {}
    for prior in ((0.8, 0.2), (0.5, 0.5)):
        run = RunDirectory(tmp_path / str(prior[0]))
        found = soft_labels.prepare(copy, split, run, prior=prior, run_on=worker(), say=silent)
        np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, rtol=1e-5)
        log_odds[prior] = found[:, 1] - found[:, 0]
    moved = log_odds[0.5, 0.5] - log_odds[0.8, 0.2]
    np.testing.assert_allclose(moved, np.log(4), rtol=1e-3)


def test_probabilities_of_more_classes_move_with_the_prior():
    known = np.log(np.array([[0.2, 0.3, 0.5]]))
    before, prior = (0.2, 0.2, 0.6), (0.1, 0.3, 0.6)
    found = np.exp(soft_labels.at_prior(known, before, prior))
    expected = np.exp(known) * np.array(prior) / np.array(before)
    np.testing.assert_allclose(found, expected / expected.sum())
    assert soft_labels.at_prior(known, before, before) is known


def test_of_several_workers_the_chief_alone_asks_the_teacher(striped, striped_teacher, tmp_path):
    split, told = StoredSplit(striped, "train"), []

    def chiefs(values):
        told.append(list(values))
        return told[0]

    found = [
        soft_labels.prepare(
            source,
            split,
            RunDirectory(tmp_path / str(number)),
            prior=(0.5, 0.5),
            run_on=worker(number, of=2, agreed=chiefs),
            say=silent,
        )
        for number, source in enumerate((striped_teacher, tmp_path / "gone"))
    ]
    np.testing.assert_array_equal(*found)
    assert found[0].any() and found[1].dtype == np.float32
    assert not RunDirectory(tmp_path / "1").soft_labels.exists()


def test_what_is_kept_of_other_examples_is_computed_again(striped, striped_teacher, tmp_path):
    split, run = StoredSplit(striped, "train"), RunDirectory(tmp_path)
    given = {"prior": (0.5, 0.5), "run_on": worker(), "say": silent}
    found = soft_labels.prepare(striped_teacher, split, run, **given)
    arrays, header = array_files.read(run.soft_labels, version=1)
    other = {name: array + 1 for name, array in arrays.items()}
    array_files.write(run.soft_labels, arrays=other, header={**header, "data": "x"}, version=1)
    again = soft_labels.prepare(striped_teacher, split, run, **given)
    np.testing.assert_array_equal(again, found)


def test_a_stopped_student_resumes_exactly_where_the_teacher_is_gone(
    striped, striped_teacher, tmp_path
):
    config = with_(
        epochs=1,
        deterministic=True,
        mixup=0.5,
        head="softmax",
        distill_from=str(striped_teacher),
        distill_weight=0.7,
    )
    whole = train(striped, tmp_path / "whole", config)
    alone = train(striped, tmp_path / "alone", with_(config, distill_weight=0.0))
    assert comparable(whole.history) != comparable(alone.history)
    stopped = train(striped, tmp_path / "run", config, should_stop=stop_after(3))
    assert stopped.stopped
    moved = striped_teacher.rename(striped_teacher.with_name("moved"))
    try:
        resumed = train(striped, tmp_path / "run", config, resume=True)
    finally:
        moved.rename(striped_teacher)
    assert comparable(resumed.history) == comparable(whole.history)
    pairs = (model_weights(RunDirectory(tmp_path / name)) for name in ("run", "whole"))
    for ours, theirs in zip(*pairs, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_teacher_of_other_images_or_classes_is_refused(striped, striped_teacher, tmp_path):
    manifest = tfrecords.read_manifest(striped)
    teacher.check(striped_teacher, tmp_path / "new", manifest)
    other = fake_run.make_run(tmp_path / "other")
    for source, workdir, said in (
        (other, tmp_path / "new", "its classes are"),
        (tmp_path / "absent", tmp_path / "new", "no such run directory"),
        (striped_teacher, striped_teacher / "new", "give another --workdir"),
    ):
        with pytest.raises(UserError, match=said) as caught:
            teacher.check(source, workdir, manifest)
        assert "\n" not in str(caught.value)


def test_a_teacher_of_other_images_is_named_when_training_starts(
    striped, striped_teacher, tmp_path
):
    config, said = with_(epochs=1, distill_from=str(striped_teacher)), []

    def say(line):
        said.append(line)
        if line.startswith("warning: --distill-from"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer.train(config, striped, tmp_path / "run", say=say)
    assert "was trained on other images" in said[-1]
