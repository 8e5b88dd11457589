"""A model card's head is YAML of the form that model hubs read, and lists unseen images alone."""

import dataclasses

import pytest
import yaml
from stored_results import SUBJECT, make_evaluation, store

from engine.base import files
from engine.metrics.estimate import Estimate
from engine.runs import evaluation_ranking, model_index, report
from engine.runs.card_text import LICENCE, NAME, CardText
from engine.runs.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    run = RunDirectory(tmp_path / "my: run")
    files.write_json(
        run.environment, {"data": {"fingerprint": "abc123", "identity": SUBJECT.identity}}
    )
    metrics = {"auroc": Estimate(0.9, 0.85, 0.95), "precision": Estimate(None, reason="none")}
    store(run, make_evaluation(metrics=metrics, threshold=0.5))
    return run


def head_of(run, text=None):
    """The metadata as a parser reads it, and the Markdown below."""
    text = CardText() if text is None else text
    ranking = evaluation_ranking.ranked(run)
    card = model_index.front_matter(run, text, ranking) + report.render(run, text)
    empty, head, body = card.split("---\n", 2)
    assert empty == "" and body.startswith("\n# Report")
    return yaml.safe_load(head)


def check_schema(head):
    """What https://github.com/huggingface/hub-docs/blob/main/modelcard.md requires and allows."""
    assert head["pipeline_tag"] == "image-classification"
    for model in head["model-index"]:
        assert set(model) == {"name", "results"} and model["results"]
        for result in model["results"]:
            assert set(result) == {"task", "dataset", "metrics"} and result["metrics"]
            assert result["task"]["type"] == "image-classification"
            assert {"type", "name"} <= set(result["dataset"])
            assert set(result["dataset"]) <= {"type", "name", "config", "split", "revision", "args"}
            for metric in result["metrics"]:
                assert {"type", "value"} <= set(metric) <= {"type", "value", "name", "args"}
                assert isinstance(metric["value"], float) and metric["type"] in head["metrics"]


def test_figures_stand_with_their_intervals(run):
    head = head_of(run, CardText({LICENCE: "MIT", NAME: "A: name"}))
    check_schema(head)
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert model["name"] == "A: name" and head["license"] == "mit"
    assert result["dataset"]["split"] == "test" and result["dataset"]["type"] == "shards"
    assert result["dataset"]["args"]["num_examples"] == 60
    metrics = {metric["type"]: metric for metric in result["metrics"]}
    assert metrics["roc_auc"]["value"] == pytest.approx(0.9)
    interval = {"confidence": 0.95, "interval_low": 0.85, "interval_high": 0.95}
    assert metrics["roc_auc"]["args"] == pytest.approx(interval)
    assert "precision" not in metrics  # it is undefined


def test_seen_images_and_other_models_are_not_listed(run):
    split = dataclasses.replace(SUBJECT, split="train", name="train")
    store(run, make_evaluation(subject=split), name="train")
    other = dataclasses.replace(SUBJECT, fingerprint="other", name="elsewhere", shards="/x/Él se/")
    store(run, make_evaluation(subject=other, metrics={"auroc": Estimate(0.7)}), name="elsewhere")
    results = head_of(run)["model-index"][0]["results"]
    assert [result["dataset"]["name"] for result in results] == [
        "Él se, elsewhere (test split)",
        "shards, Test split",
    ]
    assert results[0]["dataset"]["type"] == "l-se"
    run.model.write_bytes(b"a model since then")
    assert "model-index" not in head_of(run)


def test_a_run_without_results_has_a_head_without_them(tmp_path):
    head = head_of(RunDirectory(tmp_path / "run"))
    assert head["library_name"] == "keras" and "model-index" not in head and "license" not in head


def test_the_card_has_the_figures_of_the_report_below_its_head(run):
    report.write_report(run)
    card = run.model_card.read_text(encoding="utf-8")
    body = run.report.read_text(encoding="utf-8")
    tables = [line for line in body.splitlines() if line.startswith("| ")]
    assert len(tables) > 10 and all(f"\n{line}\n" in card for line in tables)
    assert "data/shards" in body and "data/shards" not in card
