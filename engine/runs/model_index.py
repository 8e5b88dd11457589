"""A run's results as the metadata that model hubs read: the YAML head of `model_card.md`.

The form is that of https://github.com/huggingface/hub-docs/blob/main/modelcard.md: `model-index` lists, for each data
set, metrics with their values. Listed are figures of the run's present model on images that neither training nor a
choice used, measured as they are; what leads the report comes first.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.metrics.estimate import CONFIDENCE, Estimate, title
from engine.runs import yaml_text
from engine.runs.card_text import CardText
from engine.runs.evaluation_ranking import Measured
from engine.runs.run_directory import RunDirectory

# By the names that hubs know, where they know one.
_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "auroc": "roc_auc",
    "average_precision": "average_precision",
    "f1": "f1",
    "mcc": "matthews_correlation",
    "precision": "precision",
    "recall": "recall",
    "specificity": "specificity",
    "brier": "brier_score",
    "loss": "log_loss",
}
_TASK = {"type": "image-classification", "name": "Image Classification"}


def front_matter(run: RunDirectory, text: CardText, ranking: Sequence[Measured]) -> str:
    """The metadata between two lines of `---`, and an empty line: what stands above a model card.

    Args:
        ranking: see `evaluation_ranking.Evaluations`.
    """
    return f"---\n{yaml_text.dumped(metadata(run, text, ranking))}---\n\n"


def metadata(run: RunDirectory, text: CardText, ranking: Sequence[Measured]) -> dict[str, Any]:
    """The metadata as JSON values; without `model-index` where nothing was measured that it lists."""
    results = [
        _result(each)
        for each in ranking
        if each.leads and each.result is not None and each.result.subject is not None
    ]
    licence = text.licence_identifier
    found: dict[str, Any] = {
        **({} if licence is None else {"license": licence}),
        "library_name": "keras",
        "pipeline_tag": _TASK["type"],
        "tags": [_TASK["type"], "tfdata-engine"],
    }
    if results:
        name = text.name or run.path.resolve().name
        found["metrics"] = list(
            dict.fromkeys(metric["type"] for result in results for metric in result["metrics"])
        )
        found["model-index"] = [{"name": name, "results": results}]
    return found


def _result(measured: Measured) -> dict[str, Any]:
    assert measured.result is not None and measured.result.subject is not None
    subject, result = measured.result.subject, measured.result
    place = Path(subject.shards).name or "data"
    return {
        "task": dict(_TASK),
        "dataset": {
            "type": re.sub(r"[^a-z0-9_.-]+", "-", place.lower()).strip("-") or "data",
            "name": f"{place}, {measured.title}",
            "split": subject.split,
            "revision": subject.identity,
            "args": {
                "fingerprint": subject.fingerprint,
                "num_examples": result.num_examples,
                "num_patients": result.num_patients,
                "relation": measured.relation.value,
            },
        },
        "metrics": [
            _metric(name, kind, result.metrics[name])
            for name, kind in _METRICS.items()
            if name in result.metrics and result.metrics[name].value is not None
        ],
    }


def _metric(name: str, kind: str, estimate: Estimate) -> dict[str, Any]:
    shown = title(name)
    found: dict[str, Any] = {
        "type": kind,
        "value": estimate.value,
        "name": shown[:1].upper() + shown[1:],
    }
    if estimate.low is not None and estimate.high is not None:
        found["args"] = {
            "confidence": CONFIDENCE,
            "interval_low": estimate.low,
            "interval_high": estimate.high,
        }
    return found
