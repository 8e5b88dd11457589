"""What is said of a run first is the hardest set that neither training nor a choice used."""

import dataclasses

import pytest
from stored_results import SUBJECT, make_evaluation, store

from engine.base import files
from engine.metrics.estimate import Estimate
from engine.runs import evaluation_ranking, report
from engine.runs.evaluation_ranking import Relation
from engine.runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    data = {"fingerprint": SUBJECT.fingerprint, "identity": SUBJECT.identity}
    files.write_json(run.environment, {"data": data})
    return run


def add(run, name, auroc, *, others=(), **subject):
    changed = dataclasses.replace(SUBJECT, name=name, **subject)
    values = {"auroc": auroc, **dict(others)}
    metrics = {key: Estimate(value, reason="no interval") for key, value in values.items()}
    store(run, make_evaluation(subject=changed, metrics=metrics), name)


def order(run):
    return [(each.name, each.relation) for each in evaluation_ranking.ranked(run)]


def test_unseen_sets_come_first_the_hardest_before_the_others(run):
    add(run, "test", 0.99)
    add(run, "validation", 0.1, split="validation")
    add(run, "train", 0.2, split="train")
    add(run, "external", 0.97, split="external", held_out_by="NORMAL2-")
    add(run, "nih", 0.46, fingerprint="other", identity="x")
    add(run, "clinic", 0.9, fingerprint="another", identity="y", split="train")
    add(run, "resplit", 0.3, identity="z")
    add(run, "one-class", None, fingerprint="other", identity="v")
    run.evaluation("broken").mkdir()
    (run.evaluation("broken") / "metrics.json").write_text("{", encoding="utf-8")
    assert order(run) == [
        ("nih", Relation.OTHER),
        ("clinic", Relation.OTHER),
        ("external", Relation.HELD_OUT),
        ("test", Relation.OWN),
        ("one-class", Relation.OTHER),
        ("validation", Relation.CHOSEN_ON),
        ("resplit", Relation.PERHAPS_TRAINED),
        ("train", Relation.TRAINED),
        ("broken", Relation.OWN),
    ]
    text = report.render(run)
    assert text.index("Hardest set measured: nih") < text.index("### nih") < text.index("### Test")
    assert "Held out when the shards were built: `NORMAL2-`" in text
    assert "| Train split | the run was trained on it |" in text
    assert "nothing is known" not in text


def test_a_run_that_was_measured_on_its_own_set_alone_says_so(run):
    add(run, "test", 0.99)
    text = report.render(run)
    assert "Hardest set measured: Test split, AUROC 0.9900" in text
    assert "nothing is known of images from other places" in text


def test_figures_of_an_earlier_model_do_not_lead(run):
    run.model.write_bytes(b"a model")
    add(run, "nih", 0.46, fingerprint="other", model="e" * 64)
    add(run, "test", 0.9, model=run.model_digest())
    assert [name for name, _ in order(run)] == ["test", "nih"]
    text = report.render(run)
    assert "figures of an earlier model" in text and "nothing is known" in text


def test_without_an_unseen_set_the_report_says_that_figures_flatter(run):
    add(run, "validation", 0.99, split="validation")
    text = report.render(run)
    assert "No unseen set was measured" in text and "Hardest set" not in text


def test_a_threshold_that_fails_and_a_class_that_is_missed_make_a_set_hard(run):
    add(run, "test", 0.9, others={"balanced_accuracy": 0.85})
    add(run, "moved", 0.95, others={"balanced_accuracy": 0.6}, fingerprint="a", identity="a")
    others = {"balanced_accuracy": None, "accuracy": 0.2}
    add(run, "healthy", None, others=others, fingerprint="b", identity="b")
    assert [name for name, _ in order(run)] == ["healthy", "moved", "test"]
    assert "Hardest set measured: healthy (test split), AUROC undefined" in report.render(run)


def test_figures_for_another_prevalence_or_other_classes_do_not_lead(run):
    add(run, "test", 0.9)
    add(run, "rare", 0.5, prevalence=(0.9, 0.1))
    add(run, "as-found", 0.8, prevalence=(0.5, 0.5), fingerprint="other")
    add(run, "swapped", 0.0, classes={"NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"})
    add(run, "half", 0.1, classes={"NORMAL": "NORMAL"}, left_out={"PNEUMONIA": 0})
    ranking = evaluation_ranking.ranked(run)
    assert [each.name for each in ranking if each.leads] == ["as-found", "test"]
    text = report.render(run)
    assert "| probabilities for another prevalence |" in text
    assert "| classes left out or taken for others |" in text


@pytest.mark.parametrize(
    ("shared", "said"),
    [
        ("held-out", "patients of these images were removed from training and validation"),
        ("train", "were removed from this split"),
        (None, "`NORMAL2-`."),
    ],
)
def test_the_report_says_which_side_lost_the_patients_that_both_had(run, shared, said):
    add(run, "test", 0.9, held_out_by="NORMAL2-", held_out_shared=shared)
    text = report.render(run)
    assert said in text and ("removed" in text) == bool(shared)
