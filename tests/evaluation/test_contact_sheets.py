"""The sheets show the images that were wrong and those that were closest to being so."""

import csv

import fake_run
import numpy as np
import pytest
from scipy import special

from engine.evaluation import contact_sheets, run_evaluation
from engine.inference.predictor import Outputs
from engine.metrics.temperature import Calibration

NAMES = ("NORMAL", "PNEUMONIA")


def outputs_of(log_odds):
    log_odds = np.asarray(log_odds, float)
    probabilities = (
        special.expit(log_odds) if log_odds.ndim == 1 else special.softmax(log_odds, axis=1)
    )
    return Outputs(probabilities, log_odds)


def offered(log_odds, labels, *, number=3, threshold=0.5, batch=4):
    """Candidates of images whose only pixel is their place."""
    found = contact_sheets.Candidates(number, threshold=threshold)
    images = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1)
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        paths = [f"{place}.png" for place in range(len(labels))[part]]
        found.offer(images[part], np.asarray(labels)[part], outputs_of(log_odds[part]), paths)
    return found


def places(examples):
    return [int(example.image[0, 0, 0]) for example in examples]


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_surest_errors_and_the_closest_calls_are_kept_in_order(batch):
    log_odds = np.array([3.0, -2.0, 0.1, -0.2, 5.0, 1.0, -4.0])
    labels = [0, 1, 1, 0, 1, 0, 1]
    found = offered(log_odds, labels, batch=batch)
    assert places(found.most_wrong) == [6, 0, 1]  # by how far they lie beyond the threshold
    assert places(found.least_certain) == [2, 3, 5]
    first = found.most_wrong[0]
    assert (first.label, first.predicted, first.path) == (1, 0, "6.png")
    assert first.probability == pytest.approx(special.expit(4.0))


def test_the_threshold_decides_what_is_wrong_and_what_is_close():
    log_odds, labels = np.array([-1.0, -2.0, 0.0, 2.0]), [0, 0, 1, 1]
    assert places(offered(log_odds, labels).most_wrong) == []
    lower = offered(log_odds, labels, threshold=float(special.expit(-1.5)))
    assert places(lower.most_wrong) == [0]
    assert set(places(lower.least_certain)[:2]) == {0, 1}


def test_of_more_classes_errors_count_against_the_true_class():
    log_odds = np.array([[5.0, 4.9, -9.0], [5.0, -9.0, 4.0], [1.0, 3.0, 0.0], [2.0, 0.0, 1.9]])
    found = offered(log_odds, [2, 2, 1, 0], threshold=None)
    assert places(found.most_wrong) == [0, 1]
    assert set(places(found.least_certain)[:2]) == {0, 3}
    assert found.most_wrong[0].probability == pytest.approx(special.softmax(log_odds[0])[0])


def test_infinite_log_odds_are_no_obstacle():
    found = offered(np.array([np.inf, -np.inf, 0.5, np.inf]), [0, 1, 1, 1])
    assert set(places(found.most_wrong)) == {0, 1}
    assert places(found.least_certain)[0] == 2


def test_none_are_kept_where_none_are_wanted():
    found = offered(np.array([1.0, -1.0]), [0, 1], number=0)
    assert found.most_wrong == found.least_certain == []


def test_captions_name_the_classes_the_probability_and_the_path():
    found = offered(np.array([2.0, 0.1]), [0, 1])
    assert contact_sheets.caption(found.most_wrong[0], NAMES) == [
        "NORMAL, called PNEUMONIA",
        "P(PNEUMONIA) = 0.881",
        "0.png",
    ]
    right = contact_sheets.caption(found.least_certain[0], NAMES)
    assert right[:2] == ["PNEUMONIA, recognized", "P(PNEUMONIA) = 0.525"]


@pytest.fixture(scope="module")
def three_classes(tmp_path_factory):
    base, names = tmp_path_factory.mktemp("three"), ("dark", "grey", "light")
    levels = np.array([20, 130, 240, 90, 120, 250])
    shards = fake_run.make_shards(
        base / "shards",
        fake_run.grey_images(levels, channels=3),
        [0, 1, 2, 0, 2, 2],
        [""] * 6,
        class_names=names,
    )
    return fake_run.make_run(base / "run", class_names=names, channels=3), shards


def test_both_sheets_are_drawn_of_three_classes_in_colour(three_classes):
    run, shards = three_classes
    run_evaluation.evaluate_run(run, shards, resamples=200)
    drawn = run / "evaluation" / "test"
    for name in ("most_wrong.png", "least_certain.png"):
        assert (drawn / name).stat().st_size > 5_000
    assert "most_wrong.png" in (run / "report.md").read_text(encoding="utf-8")


def test_sheets_at_an_estimated_prevalence_are_of_its_predictions(tmp_path, capsys, monkeypatch):
    names = ("dark", "grey", "light")
    levels = np.random.default_rng(0).integers(0, 256, 150)
    labels = np.where(levels < 170, 0, np.where(levels < 240, 1, 2))
    shards = fake_run.make_shards(
        tmp_path / "shards",
        fake_run.grey_images(levels),
        labels.tolist(),
        [""] * 150,
        class_names=names,
    )
    calibration = Calibration(1.0, prior=(1 / 3, 1 / 3, 1 / 3))
    run = fake_run.make_run(tmp_path / "run", class_names=names, calibration=calibration)
    drawn = []
    monkeypatch.setattr(contact_sheets, "draw", lambda shown, *args, **more: drawn.append(shown))
    result = run_evaluation.evaluate_run(run, shards, prevalence="estimate", resamples=200)
    with (run / "evaluation" / result.subject.name / "predictions.csv").open() as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    (shown,) = drawn
    assert len(shown.least_certain) == 12 and shown.most_wrong
    for example in [*shown.most_wrong, *shown.least_certain]:
        row = rows[example.path]
        assert names[example.predicted] == row["predicted"]
        assert names[example.label] == row["label"]
        assert example.probability == pytest.approx(float(row[f"probability_{row['predicted']}"]))
    # Shares that the images do not have are warned of when they are known.
    said = [text for text in result.subject.warnings if "other shares of the classes" in text]
    assert len(said) == 1 and said[0] in capsys.readouterr().err


def test_without_errors_or_without_sheets_nothing_is_drawn(tmp_path):
    run = fake_run.make_run(tmp_path / "run")
    shards = fake_run.make_shards(
        tmp_path / "shards", fake_run.grey_images([20, 30, 220, 240]), [0, 0, 1, 1], [""] * 4
    )
    run_evaluation.evaluate_run(run, shards, resamples=200)
    drawn = {path.name for path in (run / "evaluation" / "test").iterdir()}
    assert "least_certain.png" in drawn and "most_wrong.png" not in drawn
    run_evaluation.evaluate_run(run, shards, resamples=200, contact_sheets=0)
    drawn = {path.name for path in (run / "evaluation" / "test").iterdir()}
    assert "least_certain.png" not in drawn


def test_a_model_without_feature_maps_has_sheets_without_evidence(tmp_path):
    import keras
    from keras import layers

    inputs = keras.Input((*fake_run.IMAGE_SIZE, 1), dtype="uint8")
    x = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(x))
    run = fake_run.make_run(tmp_path / "run", model=model)
    shards = fake_run.make_shards(
        tmp_path / "shards", fake_run.grey_images([20, 220, 30, 240]), [0, 0, 1, 1], [""] * 4
    )
    run_evaluation.evaluate_run(run, shards, resamples=200)
    assert (run / "evaluation" / "test" / "least_certain.png").is_file()
