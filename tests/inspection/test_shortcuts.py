"""Single measures: what tells classes apart is found, in the right direction; what does not, is not."""

import dataclasses

import numpy as np
import pytest
from measured_table import table
from scipy import stats

from engine.inspection import shortcuts
from engine.inspection.file_header import FileHeader


def test_auroc_is_that_of_mann_whitney_and_the_direction_is_said():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 200)
    width = random.normal(100, 10, 200) - 8 * labels
    (probe,) = shortcuts.between_classes(table(labels, width=width))
    statistic = stats.mannwhitneyu(width[labels == 0], width[labels == 1]).statistic
    expected = statistic / ((labels == 0).sum() * (labels == 1).sum())
    assert probe.auroc.value == pytest.approx(expected)
    assert (probe.measure, probe.subject, probe.is_higher) == ("width", "b", False)
    assert probe.is_of_file and probe.auroc.low < expected < probe.auroc.high
    assert probe.counts == ((labels == 1).sum(), (labels == 0).sum())


def test_what_differs_between_splits_alone_tells_no_classes_apart():
    """Class b is rarer in test, and test images are brighter: brightness seems to tell the classes."""
    labels = [0] * 20 + [1] * 80 + [0] * 80 + [1] * 20
    splits = ["train"] * 100 + ["test"] * 100
    noise = np.random.default_rng(0).normal(0, 1, 200)
    brightness = noise + 50 * (np.array(splits) == "test")
    found = table(labels, splits=splits, brightness=brightness)
    (of_class,) = shortcuts.between_classes(found)
    (of_split,) = shortcuts.between_splits(found)
    assert of_class.auroc.value < 0.62 and not of_class.is_notable
    assert of_split.auroc.value == 1 and of_split.is_notable and of_split.subject == "test"


def test_of_more_classes_each_is_compared_with_the_rest():
    labels = np.repeat([0, 1, 2], 30)
    found = table(labels, names=("a", "b", "c"), contrast=(labels == 1) * 5.0)
    by_class = {probe.subject: probe for probe in shortcuts.between_classes(found)}
    assert by_class["b"].auroc.value == 1 and by_class["b"].is_higher
    assert by_class["a"].auroc.value == 0.75 and not by_class["a"].is_higher
    assert set(by_class) == {"a", "b", "c"}


def test_patients_widen_the_interval():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    of_patient = np.repeat(random.normal(0, 1, 20), 6) + labels
    alone = table(labels, sharpness=of_patient)
    together = table(labels, sharpness=of_patient, patients=[str(i // 6) for i in range(120)])
    widths = [
        probe.auroc.high - probe.auroc.low
        for one in (alone, together)
        for probe in shortcuts.between_classes(one)
    ]
    assert widths[1] > 1.5 * widths[0]


def header(**changed):
    return dataclasses.replace(FileHeader("PNG", "grey", 64, 48), **changed)


def test_kinds_of_files_are_compared_value_by_value():
    headers = (header(),) * 20 + (header(mode="colour"),) * 20
    (probe,) = shortcuts.between_classes(table([0] * 20 + [1] * 20, headers=headers))
    assert probe.measure == "mode is grey" or probe.measure == "mode is colour"
    assert probe.auroc.value == 1 and probe.is_of_file
    constant = shortcuts.constant_measures(table([0, 1], headers=headers[:2]))
    assert {"format PNG", "mode grey", "width 7"} <= set(constant)


def test_images_without_a_measure_are_left_out_and_too_few_are_not_compared():
    quality = [50.0, 60, 70, 80, 90, 95, 96, 97, 98, 99] + [np.nan] * 10
    labels = [0] * 5 + [1] * 5 + [0] * 10
    (probe,) = shortcuts.between_classes(table(labels, JPEG_quality=quality))
    assert probe.counts == (5, 5) and probe.auroc.value == 1
    assert (
        shortcuts.between_classes(table(labels, JPEG_quality=[*quality[:9], *[np.nan] * 11])) == ()
    )


@pytest.mark.parametrize("labels", [[], [0] * 20])
def test_one_class_cannot_be_told_from_another(labels):
    found = table(labels, width=range(len(labels)))
    assert shortcuts.between_classes(found) == shortcuts.between_splits(found) == ()
