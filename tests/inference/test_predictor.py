"""A loaded run gives the model's probabilities, whatever the batches, and says when it cannot."""

import json

import fake_run
import numpy as np
import pytest
import tensorflow as tf
from built_in import small_model
from scipy import special

from engine.base import files
from engine.base.config import UserError
from engine.base.settings import TrainConfig
from engine.images.format import ImageFormat
from engine.inference.predictor import Outputs, Predictor
from engine.metrics.temperature import Calibration
from engine.networks import registry, stock
from engine.runs.run_directory import RunDirectory


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return fake_run.make_run(tmp_path_factory.mktemp("run"), threshold=0.4)


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.load(run, batch_size=8)


def test_probabilities_are_the_models_own(predictor):
    images = fake_run.grey_images(np.arange(19) * 13)
    means = images.mean(axis=(1, 2, 3)) / 255
    found = predictor.predict(images)
    assert found.shape == (19,)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(4 - 8 * means)), atol=1e-3)


def test_neither_the_batch_nor_its_size_changes_an_image(run, predictor):
    images = fake_run.grey_images(np.arange(19) * 13)
    whole = predictor.predict(images)
    single = np.concatenate([predictor.predict(image[None]) for image in images])
    np.testing.assert_allclose(single, whole, atol=1e-6)
    np.testing.assert_allclose(Predictor.load(run, batch_size=3).predict(images), whole, atol=1e-6)


def test_the_model_is_traced_once(run):
    predictor = Predictor.load(run, batch_size=4)
    for count in (4, 1, 3, 9):
        predictor.predict(fake_run.grey_images([100] * count))
    assert predictor._compiled.experimental_get_tracing_count() == 1


def test_no_image_gives_no_probability(predictor):
    assert predictor.predict(np.zeros((0, *fake_run.IMAGE_SIZE, 1), np.uint8)).shape == (0,)


def test_batches_come_from_datasets_and_iterators_alike(predictor):
    images = fake_run.grey_images(np.arange(11) * 20)
    names = [f"{i}.png" for i in range(11)]
    dataset = tf.data.Dataset.from_tensor_slices({"image": images, "path": names}).batch(4)
    plain = [{"image": images[:6], "path": names[:6]}, {"image": images[6:], "path": names[6:]}]
    from_dataset = list(predictor.predict_batches(dataset))
    from_list = list(predictor.predict_batches(iter(plain)))
    for found in (from_dataset, from_list):
        probabilities = np.concatenate([probability for _, probability in found])
        np.testing.assert_allclose(probabilities, predictor.predict(images), atol=1e-6)
    assert [path for batch, _ in from_dataset for path in batch["path"]] == [
        name.encode() for name in names
    ]


def test_the_stored_threshold_decides(predictor):
    assert predictor.threshold == 0.4
    np.testing.assert_array_equal(
        predictor.predicted_labels(np.array([0.1, 0.39, 0.4, 0.9])), [0, 0, 1, 1]
    )
    assert predictor.contract.positive_class == "PNEUMONIA"


@pytest.mark.parametrize("left", ["none", "of another model"])
def test_without_a_threshold_of_this_model_a_half_decides_and_it_is_said(tmp_path, left, capsys):
    run = fake_run.make_run(tmp_path, threshold=None if left == "none" else 0.7)
    if left == "of another model":
        model = fake_run.brightness_model()
        model.get_layer("logits").bias.assign([-4.5])
        model.save(run / "model.keras")
    assert list(Predictor.load(run).predicted_labels(np.array([0.4, 0.6]))) == [0, 1]
    assert "using 0.5, which was not chosen on validation" in capsys.readouterr().err


def test_outputs_are_calibrated_and_a_prevalence_shifts_them_but_not_the_classes(tmp_path):
    calibration = Calibration(2.0, prior=(0.5, 0.5))
    run = fake_run.make_run(tmp_path, threshold=0.4, calibration=calibration)
    images = fake_run.grey_images(np.arange(19) * 13)
    means = images.mean(axis=(1, 2, 3)) / 255
    predictor = Predictor.load(run, batch_size=8)
    found = predictor.outputs(images)
    np.testing.assert_allclose(found.log_odds, 4 * means - 2, atol=1e-3)
    np.testing.assert_allclose(found.probabilities, special.expit(found.log_odds))
    shifted = Predictor(predictor.model, predictor.contract, batch_size=8, prevalence=(0.9, 0.1))
    rarer = shifted.predict(images)
    np.testing.assert_allclose(special.logit(rarer), found.log_odds + np.log(0.1 / 0.9))
    np.testing.assert_array_equal(
        shifted.predicted_labels(rarer), predictor.predicted_labels(found.probabilities)
    )


def test_a_prevalence_that_the_run_cannot_take_is_refused(tmp_path):
    run = fake_run.make_run(tmp_path)
    with pytest.raises(UserError, match="--prevalence: this run does not say"):
        Predictor.load(run, prevalence="0.1")
    with pytest.raises(UserError, match="expected one number, the share of PNEUMONIA"):
        Predictor.load(run, prevalence="0.1,0.2,0.7")


def test_of_more_classes_a_prevalence_decides_too(tmp_path):
    calibration = Calibration(1.0, prior=(1 / 3, 1 / 3, 1 / 3))
    names = ("dark", "grey", "light")
    run = fake_run.make_run(tmp_path, class_names=names, calibration=calibration)
    images = fake_run.grey_images(np.arange(0, 256, 16))
    plain = Predictor.load(run, batch_size=16)
    shifted = Predictor.load(run, batch_size=16, prevalence="0.1,0.1,0.8")
    expected = plain.predict(images) * [0.1, 0.1, 0.8]
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shifted.predict(images), expected, atol=1e-9)


def test_of_more_classes_the_largest_probability_decides(tmp_path):
    run = fake_run.make_run(tmp_path, class_names=("dark", "grey", "light"), channels=3)
    predictor = Predictor.load(run, batch_size=4)
    probabilities = predictor.predict(fake_run.grey_images([250, 5, 128], channels=3))
    assert probabilities.shape == (3, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictor.predicted_labels(probabilities), [2, 0, 1])
    assert predictor.contract.positive_class is None
    assert predictor.threshold is None


@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_the_engines_own_networks_load(tmp_path, head):
    model = small_model(image_size=fake_run.IMAGE_SIZE, head=head)
    images = fake_run.grey_images([20, 120, 220])
    expected = np.asarray(model(images, training=False))[:, -1]
    predictor = Predictor.load(fake_run.make_run(tmp_path, model=model), batch_size=2)
    np.testing.assert_allclose(predictor.predict(images), expected, atol=1e-5)


@pytest.mark.parametrize("with_logits", [True, False])
@pytest.mark.parametrize("head", ["sigmoid", "softmax"])
def test_log_odds_are_those_of_the_probabilities_and_none_for_no_image(tmp_path, head, with_logits):
    classes = ("dark", "light") if head == "sigmoid" else ("dark", "grey", "light")
    model = fake_run.brightness_model(len(classes))
    model.get_layer("logits").name = "logits" if with_logits else "head"
    predictor = Predictor.load(
        fake_run.make_run(tmp_path, class_names=classes, model=model), batch_size=2
    )
    outputs = predictor.outputs(fake_run.grey_images([20, 120, 220]))
    np.testing.assert_allclose(
        outputs.log_odds, special.logit(outputs.probabilities), rtol=1e-3, atol=1e-3
    )
    none = predictor.outputs(np.zeros((0, *fake_run.IMAGE_SIZE, 1), np.uint8))
    assert none.log_odds.shape == none.probabilities.shape == (0, *outputs.log_odds.shape[1:])


def test_distances_are_given_where_they_are_asked_for_and_known(tmp_path, predictor):
    images = fake_run.grey_images(np.random.default_rng(0).integers(90, 170, 60))
    assert predictor.outputs(images, with_distances=True).distances is None
    directory = fake_run.make_run(tmp_path)
    fake_run.remember(directory, images)
    loaded = Predictor.load(directory, batch_size=8)
    plain, full = loaded.outputs(images), loaded.outputs(images, with_distances=True)
    assert loaded.measures_distances and plain.distances is None
    np.testing.assert_allclose(full.log_odds, plain.log_odds, atol=1e-6)
    assert full.distances.shape == (60,) and (full.distances < 1).mean() > 0.9
    single = loaded.outputs(images[:1], with_distances=True)
    np.testing.assert_allclose(single.distances, full.distances[:1], rtol=1e-3)
    joined = Outputs.joined([single, full])
    assert joined.distances.shape == (61,)
    assert Outputs.joined([single, plain]).distances is None
    none = loaded.outputs(images[:0], with_distances=True)
    assert none.distances.shape == none.log_odds.shape == (0,)


def test_images_of_another_shape_or_type_are_refused(predictor):
    for images in (
        np.zeros((1, 8, 8, 1), np.uint8),
        np.zeros((1, *fake_run.IMAGE_SIZE, 1), np.float32),
    ):
        with pytest.raises(UserError, match=r"expects uint8 images of shape \(12, 16, 1\)"):
            predictor.predict(images)


def test_what_is_no_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="no such run directory"):
        Predictor.load(tmp_path / "absent")
    with pytest.raises(UserError, match=r"model\.keras"):
        Predictor.load(tmp_path)
    (tmp_path / "model.keras").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"holds no inference\.json"):
        Predictor.load(tmp_path)
    (tmp_path / "inference.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="format_version is missing"):
        Predictor.load(tmp_path)


def test_damaged_parts_are_named(tmp_path):
    run = fake_run.make_run(tmp_path / "model")
    (run / "model.keras").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"model\.keras: cannot be loaded"):
        Predictor.load(run)
    run = fake_run.make_run(tmp_path / "threshold")
    stored = json.loads((run / "inference.json").read_text(encoding="utf-8"))
    changed = json.dumps({**stored, "threshold": "high"})
    (run / "inference.json").write_text(changed, encoding="utf-8")
    with pytest.raises(UserError, match=r"inference\.json: damaged \(threshold: got 'high'"):
        Predictor.load(run)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"image_size": (20, 16)}, "not of one run"),
        ({"class_names": ["a", "b", "c"]}, "3 classes"),
    ],
)
def test_a_model_of_another_run_is_refused(tmp_path, changes, expected):
    run = fake_run.make_run(tmp_path, model=fake_run.brightness_model(), **changes)
    with pytest.raises(UserError, match=expected):
        Predictor.load(run)


OWN_LAYERS = """
import keras

class Own(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.head = keras.layers.Dense(units)

    def call(self, images, training=False):
        return self.head(keras.ops.mean(images, axis=(1, 2)) / 255)

def build(image_format, num_classes):
    return Own(num_classes)
"""


def test_what_keras_cannot_load_is_built_again_by_the_users_function(tmp_path):
    (tmp_path / "own.py").write_text(OWN_LAYERS, encoding="utf-8")
    reference = f"{tmp_path / 'own.py'}:build"
    config = TrainConfig(model=reference, model_outputs="logits")
    image_format = ImageFormat(image_size=fake_run.IMAGE_SIZE, channels=1)
    network = registry.resolve(reference)
    model = registry.build(network, config, image_format, 2)
    form = registry.build_training_form(network, model, config, image_format, 2)
    run = RunDirectory(fake_run.make_run(tmp_path / "run"))
    stock.StockModel(model, form, say=lambda line: None).save(run.model)
    with pytest.raises(UserError, match="cannot be loaded"):
        Predictor.load(run.path)
    files.write_json(run.config, config.to_json())
    images = fake_run.grey_images([20, 120, 220])
    logits = np.asarray(form.network(images.astype(np.float32), training=False))
    expected = special.softmax(logits, axis=1)[:, 1]
    found = Predictor.load(run.path, batch_size=2).predict(images)
    np.testing.assert_allclose(found, expected, atol=1e-6)
