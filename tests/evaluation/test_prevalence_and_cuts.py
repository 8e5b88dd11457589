"""Estimated prevalence, flip averaging and cuts chosen on validation: each is named, stored and kept apart."""

import fake_run
import numpy as np
import pytest

from engine import evaluate, predict
from engine.base import files
from engine.base.config import UserError
from engine.evaluation.run_evaluation import evaluate_run
from engine.metrics.operating_points import HERE, VALIDATION
from engine.metrics.temperature import Calibration
from engine.runs import stored_evaluations
from engine.runs.run_directory import RunDirectory

FAST = {"resamples": 200, "contact_sheets": 0}


def make_shards(directory, *, positives, count=80, seed=0, split="test"):
    """Images whose classes overlap, of patients with two each; and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) // 2 % count < positives // 2
    levels = np.clip(random.normal(np.where(labels, 150, 105), 30), 0, 255).astype(int)
    patients = [f"patient {i // 2}" for i in range(count)]
    images = fake_run.grey_images(levels)
    return fake_run.make_shards(directory, images, labels.astype(int), patients, split=split)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_shards(tmp_path_factory.mktemp("shards") / "s", positives=20)


@pytest.fixture
def run(tmp_path):
    return fake_run.make_run(tmp_path / "run", calibration=Calibration(1.0, prior=(0.5, 0.5)))


def test_an_estimated_prevalence_is_applied_named_and_warned_of(run, shards, capsys):
    flags = ["--resamples", "200", "--prevalence", "estimate"]
    assert evaluate.main([str(run), str(shards), *flags]) == 0
    output = capsys.readouterr()
    assert "estimated prevalence: " in output.err and "label shift" in output.err
    directory = RunDirectory(run).evaluation("test-prevalence-estimated")
    stored = stored_evaluations.read(directory)
    share = stored.estimated_shares.prevalence[1]
    assert 0.1 < share < 0.4  # of 0.25
    assert stored.subject.prevalence == pytest.approx((1 - share, share))
    assert stored.subject.prevalence_estimated
    assert stored.decision_curves[0].prevalence == pytest.approx(share)
    fixed = evaluate_run(run, shards, prevalence=f"{share!r}", name="fixed", **FAST)
    for name in ("brier", "auroc", "accuracy"):
        assert stored.metrics[name].value == pytest.approx(fixed.metrics[name].value, abs=1e-9)
    assert stored.threshold == pytest.approx(fixed.threshold)
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "estimated from the images" in report and "label shift" in report
    # Measured again it replaces itself; without the estimate it must not be replaced.
    evaluate_run(run, shards, prevalence="estimate", **FAST)
    with pytest.raises(UserError, match="prevalence that was estimated"):
        evaluate_run(run, shards, name="test-prevalence-estimated", **FAST)


def test_an_estimate_that_cannot_be_made_is_refused_at_once(tmp_path, run, shards):
    unknown = fake_run.make_run(tmp_path / "unknown")
    with pytest.raises(UserError, match="--prevalence: this run does not say"):
        evaluate_run(unknown, shards, prevalence="estimate")
    few = make_shards(tmp_path / "few", positives=4, count=10)
    with pytest.raises(UserError, match="got 10 images, expected 20 or more"):
        evaluate_run(run, few, prevalence="estimate")
    with pytest.raises(UserError, match="or estimate"):
        evaluate_run(run, shards, prevalence="estimated")
    assert not (run / "evaluation").exists()


def test_files_are_predicted_at_the_prevalence_that_all_of_them_speak_for(tmp_path, run, capsys):
    from PIL import Image

    random = np.random.default_rng(1)
    for place, level in enumerate(np.clip(random.normal(90, 30, 40), 0, 255)):
        pixels = np.full(fake_run.IMAGE_SIZE, level, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{place:02}.png")
    plain = predict(run, [tmp_path])
    capsys.readouterr()
    moved = predict(run, [tmp_path], prevalence="estimate")
    said = capsys.readouterr().err
    assert "estimated prevalence: " in said and "label shift" in said
    assert [found.path for found in moved] == [found.path for found in plain]
    assert all(b.probability <= a.probability for a, b in zip(plain, moved, strict=True))
    assert [found.predicted for found in moved] == [found.predicted for found in plain]
    few = [tmp_path / f"{place:02}.png" for place in range(3)]
    with pytest.raises(UserError, match="not --part of them"):
        predict(run, [tmp_path], prevalence="estimate", part="1/2")
    with pytest.raises(UserError, match="got 3 images"):
        predict(run, few, prevalence="estimate")
    assert predict(run, few, flip_average=True)[0].predicted == plain[0].predicted


def test_averages_over_mirror_images_are_kept_apart_and_do_not_lead(run, shards):
    plain = evaluate_run(run, shards, **FAST)
    flipped = evaluate_run(run, shards, flip_average=True, **FAST)
    assert flipped.subject.name == "test-flip-average" and flipped.subject.flip_average
    # Grey levels do not change when mirrored.
    assert flipped.metrics["auroc"].value == pytest.approx(plain.metrics["auroc"].value)
    assert any("mirror image" in warning for warning in flipped.subject.warnings)
    report = (run / "report.md").read_text(encoding="utf-8")
    assert "Hardest set measured: Test split" in report
    assert "averaged over each image and its mirror image" in report
    with pytest.raises(UserError, match="with --flip-average"):
        evaluate_run(run, shards, name="test-flip-average", **FAST)
    both = evaluate_run(run, shards, flip_average=True, prevalence="0.1", **FAST)
    assert both.subject.name == "test-flip-average-prevalence-0.1"


def train_on(run, shards):
    """Lets shards be those that a run says it was trained on."""
    from engine.shards import data_identity, tfrecords

    described = data_identity.describe(tfrecords.read_manifest(shards))
    environment = files.read_json(run / "environment.json")
    environment["data"].update(identity=described["identity"], fingerprint=described["fingerprint"])
    files.write_json(run / "environment.json", environment)


def test_cuts_chosen_on_validation_are_used_elsewhere(tmp_path, run, shards):
    held = make_shards(tmp_path / "held", positives=40, seed=5, split="validation")
    train_on(run, held)
    first = evaluate_run(run, shards, **FAST)
    assert {point.chosen_on for point in first.operating_points} == {HERE}
    chosen = evaluate_run(run, held, split="validation", at_specificity="0.8,0.9", **FAST)
    assert {point.chosen_on for point in chosen.operating_points} == {HERE}
    assert [point.rule for point in chosen.operating_points] == [
        "specificity=0.8",
        "specificity=0.9",
        "sensitivity=0.95",
    ]
    found = evaluate_run(run, shards, **FAST).operating_points
    thresholds = {point.rule: point.threshold for point in chosen.operating_points}
    elsewhere = [point for point in found if point.chosen_on == VALIDATION]
    assert [point.rule for point in elsewhere] == ["specificity=0.9", "sensitivity=0.95"]
    for point in elsewhere:
        assert point.threshold == thresholds[point.rule]
        assert point.specificity.low < point.specificity.value < point.specificity.high
    moved = evaluate_run(run, shards, prevalence="0.1", **FAST).operating_points
    rates = [(p.sensitivity.value, p.specificity.value) for p in moved if p.chosen_on == VALIDATION]
    assert rates == [(p.sensitivity.value, p.specificity.value) for p in elsewhere]


def test_the_cut_of_plain_outputs_is_none_of_averages_over_mirror_images(tmp_path, shards):
    run = fake_run.make_run(tmp_path / "run", threshold=0.41)
    contract = files.read_json(run / "inference.json")
    files.write_json(run / "inference.json", {**contract, "threshold_rule": "specificity=0.9"})
    held = make_shards(tmp_path / "held", positives=40, seed=5, split="validation")
    train_on(run, held)

    def cuts(**settings):
        found = evaluate_run(run, shards, **settings, **FAST).operating_points
        return {point.rule: point.threshold for point in found if point.chosen_on == VALIDATION}

    assert cuts() == {"specificity=0.9": 0.41}
    assert cuts(flip_average=True) == {}
    chosen = evaluate_run(run, held, split="validation", flip_average=True, **FAST)
    thresholds = {point.rule: point.threshold for point in chosen.operating_points}
    assert cuts(flip_average=True) == thresholds
    assert thresholds["specificity=0.9"] != 0.41


@pytest.mark.parametrize("text", ["1.2", "0", "0.9,0.9", "many", "0.9,"])
def test_rates_that_are_none_are_refused(run, shards, text):
    with pytest.raises(UserError, match=r"--at-specificity: got .*expected rates above 0"):
        evaluate_run(run, shards, at_specificity=text)
