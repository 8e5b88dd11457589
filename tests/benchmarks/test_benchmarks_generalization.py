"""Settings are compared on held-out images: candidates, kept trainings, medians, tables."""

import dataclasses
import io
import json
from pathlib import Path

import keras
import numpy as np
import pytest
from fake_run import make_run
from PIL import Image
from stored_results import SUBJECT, make_evaluation, store

from benchmarks import (
    candidates,
    figures,
    generalization_data,
    highlights,
    outcomes,
    readme_table,
    reports,
    watched_training,
)
from benchmarks.__main__ import main
from benchmarks.generalization_runs import Training, TrainingError
from benchmarks.outcomes import OWN, SERIES, Outcome
from benchmarks.reports import Report
from engine.base import files
from engine.base.config import UserError
from engine.runs.run_directory import RunDirectory


def outcome(candidate="default", *, on=SERIES, trained_on=None, seed=0, auroc=0.9, **changes):
    values = {
        "candidate": candidate,
        "trained_on": trained_on or (OWN if on == OWN else SERIES),
        "measured_on": on,
        "seed": seed,
        "auroc": auroc,
        "accuracy": 0.8,
        "sensitivity": 0.7,
        "specificity": 0.6,
        "threshold": 0.5,
        "validation_auroc": 0.99,
        "minutes": 4.0,
    }
    return Outcome(**{**values, **changes})


def compared():
    """Two candidates with three seeds on three sets; `better` is the best by median alone."""
    found = []
    for name, aurocs in (("default", (0.90, 0.92, 0.91)), ("better", (0.93, 0.915, 0.99))):
        for seed, auroc in enumerate(aurocs):
            for on in (OWN, "elsewhere", SERIES):
                probes = {"view AP in NORMAL": 0.87} if on == "elsewhere" else {}
                shift = {OWN: 0.005, "elsewhere": -0.4, SERIES: 0}[on]
                found.append(outcome(name, on=on, seed=seed, auroc=auroc + shift, probes=probes))
    return found


def printed(report):
    stream = io.StringIO()
    reports.print_report(report, reports.make_console(stream))
    return stream.getvalue()


# ----------------------------------------------------------------------- candidates


def test_flags_and_objects_of_settings_say_the_same(tmp_path):
    values = {
        "text": "--epochs 3 --no-horizontal-flip --image-size 32x48 --normalization batch",
        "object": {
            "epochs": 3,
            "horizontal_flip": False,
            "image_size": [32, 48],
            "normalization": "batch",
        },
    }
    files.write_json(tmp_path / "c.json", values)
    (text, of_object), missing = candidates.chosen(tmp_path / "c.json", "--width 8")
    assert not missing
    assert text.config == of_object.config
    assert text.digest == of_object.digest
    assert (text.config.epochs, text.config.width) == (3, 8)


def test_a_candidate_goes_over_the_flags_for_all(tmp_path):
    files.write_json(tmp_path / "c.json", {"short": {"epochs": 3}, "as all": ""})
    found, _ = candidates.chosen(tmp_path / "c.json", "--epochs 9")
    assert [candidate.config.epochs for candidate in found] == [3, 9]
    quick, _ = candidates.chosen(tmp_path / "c.json", "--epochs 9", quick=True)
    assert [candidate.config.epochs for candidate in quick] == [2, 2]


def test_without_settings_the_defaults_are_compared_where_their_weights_are_installed(monkeypatch):
    def none_installed(network, config):
        raise UserError("no weights: install the extra")

    monkeypatch.setattr(candidates.registry, "check_weights", lambda network, config: None)
    found, missing = candidates.chosen(None, "")
    assert [candidate.name for candidate in found] == ["default", "pretrained"] and not missing
    monkeypatch.setattr(candidates.registry, "check_weights", none_installed)
    found, missing = candidates.chosen(None, "")
    assert [candidate.name for candidate in found] == ["default"]
    assert missing == {"pretrained": "no weights: install the extra"}
    given, _ = candidates.chosen(None, "--epochs 2")
    assert [candidate.name for candidate in given] == ["given settings"]


@pytest.mark.parametrize(
    "values, part",
    [
        ({"a": "--epoch 3"}, "candidate 'a'.*--epochs"),
        ({"a": {"epochs": "many"}}, "candidate 'a'.*whole number"),
        ({"a": {"learning_rte": 1}}, "candidate 'a'.*--learning-rate"),
        ({"a": "--seed 3"}, "--seed is not a setting"),
        ({"a": "'--epochs"}, "c.json: a.*quotation"),
        ({"a": 3}, "expected flags in one text"),
        ({}, "holds no candidate"),
    ],
)
def test_a_wrong_candidate_is_named_before_anything_is_trained(tmp_path, values, part):
    files.write_json(tmp_path / "c.json", values)
    with pytest.raises(UserError, match=part):
        candidates.chosen(tmp_path / "c.json", "")


def test_a_run_is_known_by_its_settings_and_seed():
    candidate = candidates.parse("a", ("--epochs", "3"))
    stored = {**candidate.config.to_json(), "seed": 2}
    assert candidate.matches(stored, 2)
    assert not candidate.matches(stored, 1)
    assert not candidate.matches({**stored, "epochs": 4}, 2)
    del stored["augment"]  # a setting that came later, with its default
    assert candidate.matches(stored, 2)
    assert not candidate.matches({**stored, "removed_setting": 1}, 2)


def test_the_members_of_ensembles_have_seeds_of_their_own():
    three = candidates.parse("a", ("--num-seeds", "3"))
    assert [three.seed_flags(seed)[1] for seed in range(3)] == ["0", "3", "6"]


# ------------------------------------------------------------------ data and trainings


@pytest.fixture
def tree(tmp_path):
    names = {
        "NORMAL": [f"IM-{k:04d}-0001.jpeg" for k in range(20)]
        + [f"NORMAL2-IM-{k:04d}-0001.jpeg" for k in range(40, 50)],
        "PNEUMONIA": [f"person{k}_bacteria_1.jpeg" for k in range(20)]
        + [f"person{k}_virus_2.jpeg" for k in range(15, 30)],
    }
    random = np.random.default_rng(0)
    for class_name, files_of_class in names.items():
        folder = tmp_path / "images" / class_name
        folder.mkdir(parents=True)
        for name in files_of_class:
            pixels = random.integers(0, 256, (20, 20), np.uint8)
            Image.fromarray(pixels).save(folder / name)
    return tmp_path / "images"


def divided(tree, tmp_path, **changes):
    options = {
        "hold_out": "NORMAL2-|_virus_",
        "hold_out_shared": "held-out",
        "image_size": (16, 16),
        "tell": lambda line: None,
    }
    return generalization_data.divide(tree, tmp_path / "work", **{**options, **changes})


def test_the_series_is_held_out_of_one_division_and_not_of_the_other(tree, tmp_path):
    series, own = divided(tree, tmp_path)
    assert (series.name, own.name) == (SERIES, OWN)
    assert series.manifest.splits["test"].class_counts == {"NORMAL": 10, "PNEUMONIA": 15}
    assert own.manifest.splits["train"].num_examples > series.manifest.splits["train"].num_examples
    assert own.manifest.splits["test"].num_examples > 0
    assert [each.shards for each in divided(tree, tmp_path)] == [series.shards, own.shards]
    same = generalization_data.external(own.shards, series.manifest)
    assert same.held_out == "test"
    other = divided(tree, tmp_path, image_size=(8, 8))[0]
    with pytest.raises(UserError, match="got image size"):
        generalization_data.external(other.shards, series.manifest)


def test_what_is_held_out_must_be_said(tree, tmp_path):
    with pytest.raises(UserError, match="--hold-out REGEX is missing"):
        divided(tree, tmp_path, hold_out=None)


def finished(training, *, val_auroc=0.97):
    """Leaves what a finished training leaves."""
    run = RunDirectory(make_run(training.run))
    files.write_json(run.config, {**training.candidate.config.to_json(), "seed": training.seed})
    files.write_json(run.training_summary, {"seconds": 130.0, "best_epoch": 2})
    files.write_text(run.history, f"epoch,val_auroc\n1,0.5\n2,{val_auroc}\n")
    watched = {"aurocs": [0.8, 0.96], "seconds": [60.0, 120.0], "own_seconds": 10.0}
    files.write_json(training.place / "watched.json", watched)
    return run


@pytest.fixture
def training(tree, tmp_path):
    series, _ = divided(tree, tmp_path)
    candidate = candidates.parse("a name", ("--epochs", "2"))
    return Training(tmp_path / "root", series, candidate, 1, watch_images=50)


def test_a_finished_training_is_not_repeated_and_one_of_other_settings_is_another(training):
    assert not training.is_finished
    finished(training)
    assert training.is_finished
    training.train()  # no command is run: the log would be there
    assert not training.log.exists()
    division, root = training.division, training.place.parents[2]

    def again(*flags, seed=1):
        return Training(root, division, candidates.parse("b", flags), seed, watch_images=50)

    assert again("--epochs", "2").place == training.place
    assert not again("--epochs", "3").is_finished
    assert not again("--epochs", "2", seed=2).is_finished


def test_a_failed_training_is_reported_with_its_last_line(training, monkeypatch):
    monkeypatch.setattr(training, "command", lambda: ["-c", "raise SystemExit('out of luck')"])
    with pytest.raises(TrainingError, match="status 1: out of luck"):
        training.train()


def test_the_figures_are_those_of_the_stored_evaluation_of_this_model(training):
    run = finished(training)
    subject = dataclasses.replace(
        SUBJECT, identity=training.division.identity, model=run.model_digest()
    )
    evaluation = make_evaluation(threshold=0.25, subject=subject)
    store(run, evaluation)
    found = training.measure(training.division, strata=None, target=0.95)
    assert found.auroc == evaluation.metrics["auroc"].value
    assert found.threshold == 0.25
    assert found.minutes == pytest.approx(2.0)
    assert found.minutes_to_target == pytest.approx(2.0)
    assert found.validation_auroc == 0.97


def test_only_trainings_on_the_series_split_are_watched(training, tree, tmp_path):
    own = divided(tree, tmp_path)[1]
    other = Training(tmp_path / "root", own, training.candidate, 1, watch_images=50)
    assert "benchmarks.watched_training" in training.command()
    assert "engine.train" in other.command()
    assert training.shown() == ("python -m engine.train SHARDS --workdir RUN --epochs 2 --seed 1")


def test_the_clock_of_a_watched_training_stands_still_while_it_is_watched():
    times = iter([0.0, 60.0, 65.0, 125.0, 131.0])
    images = np.arange(8, dtype=np.uint8).reshape(8, 1, 1, 1)
    watch = watched_training.HeldOutAuroc(
        images, np.array([0, 0, 0, 0, 1, 1, 1, 1]), clock=lambda: next(times)
    )
    watch.set_model(keras.Sequential([keras.Input((1, 1, 1)), keras.layers.Flatten()]))
    watch.on_train_begin()
    watch.on_epoch_end(0)
    watch.on_epoch_end(1)
    assert watch.seconds == [60.0, 120.0]
    assert watch.own_seconds == 11.0
    assert watch.aurocs == [1.0, 1.0]


def test_images_to_watch_are_evenly_spaced():
    assert watched_training.evenly_spaced(3, 9).tolist() == [0, 1, 2]
    assert watched_training.evenly_spaced(101, 3).tolist() == [0, 50, 100]


def test_minutes_to_a_target_end_with_the_first_epoch_that_reaches_it():
    assert outcomes.minutes_to([0.8, 0.97, 0.9, 0.98], [60, 120, 180, 240], 0.97) == 2
    assert outcomes.minutes_to([0.8], [60], 0.97) is None


# ------------------------------------------------------------------------------ tables


def test_candidates_are_ranked_by_their_median_on_the_other_series():
    found = compared()
    assert outcomes.ranked(found) == ["better", "default"]
    assert outcomes.set_names(found)[0] == SERIES
    assert outcomes.set_names(found)[-1] == OWN
    spread = outcomes.of(found, "default", SERIES)["auroc"]
    assert (spread.median, spread.low, spread.high) == (0.91, 0.90, 0.92)
    conclusions = outcomes.conclusions(found)
    assert conclusions[0] == "best on the other series: better, AUROC 0.9300 (0.9150-0.9900)"
    assert conclusions[1] == "within the range of its seeds: default"


def test_minutes_to_the_target_need_every_seed():
    found = [outcome(seed=seed, minutes_to_target=minutes) for seed, minutes in enumerate((1, 2))]
    assert outcomes.of(found, "default", SERIES)["minutes_to_target"].median == 1.5
    found.append(outcome(seed=2))
    assert "minutes_to_target" not in outcomes.of(found, "default", SERIES)


def test_a_candidate_that_lacks_trainings_says_so():
    found = [outcome(seed=0), outcome(seed=1), outcome("half", seed=0)]
    report = Report("generalization", "how well", outcomes=found, target_auroc=0.97)
    for text in (printed(report), outcomes.markdown(found, 0.97)):
        assert "half (1 of 2" in " ".join(text.split())
        assert "default (" not in text


def test_outcomes_go_to_json_and_back_and_into_every_table(tmp_path):
    report = Report("generalization", "how well", outcomes=compared(), target_auroc=0.97)
    report.data = {
        "source": "images",
        "image_shape": [8, 8, 1],
        "hold_out": "b|c",
        "hold_out_shared": "train",
    }
    report.data["divisions"] = {SERIES: {"train": 1000, "test": 9}}
    report.skipped = {"pretrained": "no weights"}
    report.commands = {"default": "python -m engine.train SHARDS --workdir RUN"}
    text = printed(report)
    assert max(len(line) for line in text.splitlines()) <= 80
    for part in ("0.9300 (0.9150-0.9900)", "elsewhere", "0.8700", "to 0.97", "better"):
        assert part in text
    machine = {"processor": "P", "cores": 2}
    path = reports.write_json(report, tmp_path, {"machine": machine, "data": report.data})
    stored = json.loads(path.read_text())["outcomes"]
    assert [Outcome.from_json(values).set_name for values in stored] == [
        each.set_name for each in report.outcomes
    ]
    table = readme_table.render_generalization(path)
    for part in ("0.9300 (0.9150-0.9900)", "1,000 train", "`b|c`", "no weights", "AP in NORMAL"):
        assert part in table
    (drawn,) = figures.draw([report], tmp_path / "plots")
    assert drawn.name == "generalization.png"
    rows = highlights._hardest_first(tmp_path)
    assert [row.split(":")[0] for row in rows] == [
        "| elsewhere, trained on the series split",
        "| other series",
    ]
    assert highlights._hardest_first(tmp_path / "none") == []


@pytest.mark.slow
def test_the_command_trains_measures_and_repeats_nothing(tmp_path, capsys):
    def run(*more):
        flags = "--epochs 1 --width 4 --depth 2 --global-batch-size 16"
        arguments = [
            *("generalization", "--hold-out", "NORMAL2-|_virus_", "--num-images", "64"),
            *("--image-size", "32", "--num-seeds", "1", "--train-flags", flags),
            *("--workdir", str(tmp_path / "work"), "--json", str(tmp_path / "results"), *more),
        ]
        assert main(arguments) == 0
        return json.loads((tmp_path / "results" / "generalization.json").read_text())

    first = run()
    models = {path: path.stat().st_mtime_ns for path in Path(tmp_path).rglob("model.keras")}
    assert len(models) == 2
    assert [each["measured_on"] for each in first["outcomes"]] == [SERIES, OWN]
    assert run()["outcomes"] == first["outcomes"]
    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
