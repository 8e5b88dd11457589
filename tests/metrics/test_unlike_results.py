"""Images unlike the training images are counted and measured apart; the figures go to JSON and back."""

import json

import numpy as np
import pytest

from engine.base.config import UserError
from engine.metrics import evaluation
from engine.metrics.evaluation import Evaluation


def measured(distances, **options):
    """20 images of two classes, of which the last 5 are decided wrongly."""
    labels = np.arange(20) % 2
    right = np.arange(20) < 15
    probabilities = np.where(labels == right, 0.9, 0.1)
    return evaluation.evaluate(
        labels, probabilities, class_names=("a", "b"), resamples=200, distances=distances, **options
    )


FAR_AND_WRONG = np.where(np.arange(20) < 15, 0.5, 3.0)


def test_figures_are_given_with_and_without_the_images_that_are_unlike():
    result = measured(FAR_AND_WRONG)
    assert result.metrics["accuracy"].value == 0.75
    assert result.unlike.like.metrics["accuracy"].value == 1
    assert result.unlike.unlike.metrics["accuracy"].value == 0
    assert result.unlike.num_unlike == 5 and result.unlike.num_examples == 20
    assert "5 of 20 images (25.0%) above 1: unlike training images" in str(result)
    assert "decided" not in str(result)


def test_an_abstaining_evaluation_says_how_many_it_decides_and_how_well():
    lines = str(measured(FAR_AND_WRONG, abstained=True)).splitlines()
    assert lines[-1].startswith("decided      75.0% of the images; accuracy 1.0000")
    none = str(measured(np.full(20, 2.0), abstained=True)).splitlines()
    assert none[-1] == "no image is decided"


@pytest.mark.parametrize("distances", [FAR_AND_WRONG, np.full(20, 0.2), np.full(20, 7.0)])
def test_json_gives_the_same_object_back(distances):
    result = measured(distances, abstained=True)
    values = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert Evaluation.from_json(values).unlike == result.unlike
    values["unlike"] = {**values["unlike"], "figures_like": None, "figures_unlike": None}
    with pytest.raises(UserError, match="neither kind"):
        Evaluation.from_json(values)


def test_without_distances_nothing_is_said_of_them():
    result = measured(None)
    assert result.unlike is None and "unlike" not in result.to_json()
    assert Evaluation.from_json(result.to_json()).unlike is None
