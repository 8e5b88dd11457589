"""Measures may separate the classes only together; noise does not, however many measures there are."""

import numpy as np
from measured_table import table

from engine.inspection import joint_shortcuts, shortcuts

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 2, 400)


def test_a_small_difference_of_two_measures_is_found_together():
    shared = RANDOM.normal(0, 5, 400)
    found = table(
        LABELS,
        brightness=shared + LABELS,
        contrast=shared - LABELS,
        sharpness=RANDOM.normal(size=400),
    )
    alone = max(probe.auroc.value for probe in shortcuts.between_classes(found))
    (joint,) = joint_shortcuts.between_classes(found)
    assert (joint.kind, joint.subject, joint.measures) == ("pixels", "b", 3)
    assert alone < 0.65 < 0.9 < joint.auroc.low < joint.auroc.value


def test_what_lies_in_the_middle_is_found_too():
    width = np.where(LABELS, RANDOM.normal(0, 1, 400), RANDOM.choice([-3, 3], 400))
    found = table(LABELS, width=width, height=RANDOM.normal(size=400))
    (joint,) = joint_shortcuts.between_classes(found)
    assert joint.kind == "files" and joint.auroc.value > 0.95


def test_noise_tells_nothing_on_held_out_patients():
    """Each patient has a brightness of its own, which a fit to his other images would know him by."""
    patients = [f"p{i // 4}" for i in range(400)]
    of_patient = np.repeat(RANDOM.normal(size=(100, 3)), 4, axis=0)
    labels = np.repeat(RANDOM.integers(0, 2, 100), 4)
    names = ("brightness", "contrast", "sharpness")
    found = table(labels, patients=patients, **dict(zip(names, of_patient.T, strict=True)))
    (joint,) = joint_shortcuts.between_classes(found)
    assert joint.auroc.low < 0.5 < joint.auroc.high


def test_unknown_values_and_too_few_images_are_borne():
    quality = np.where(RANDOM.random(400) < 0.3, np.nan, LABELS + RANDOM.normal(0, 0.1, 400))
    found = table(LABELS, JPEG_quality=quality, width=RANDOM.normal(size=400))
    (joint,) = joint_shortcuts.between_classes(found)
    assert 0.8 < joint.auroc.value < 1
    few = table([0, 1] * 20, width=range(40), height=range(40))
    assert joint_shortcuts.between_classes(few) == ()


def test_of_three_classes_each_is_told_from_the_rest():
    labels = np.arange(300) % 3
    noise = RANDOM.normal(0, 0.1, (2, 300))
    found = table(labels, names=("a", "b", "c"), width=labels + noise[0], height=labels + noise[1])
    joint = {probe.subject: probe.auroc.value for probe in joint_shortcuts.between_classes(found)}
    assert set(joint) == {"a", "b", "c"} and min(joint.values()) > 0.95
