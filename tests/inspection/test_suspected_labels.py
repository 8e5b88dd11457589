"""Labels are doubted where the run is as sure of another class as it is of that class's own images."""

import numpy as np

from engine.images.image_folder import Example
from engine.inspection import suspected_labels


def judged(rows):
    """Examples and probabilities of rows (label, probabilities...)."""
    examples = [Example(f"{place}.png", label, "") for place, (label, *_) in enumerate(rows)]
    return examples, {f"{place}.png": np.array(p) for place, (_, *p) in enumerate(rows)}


def test_the_limit_of_each_class_is_its_own_mean():
    """b's images are given 0.53 on average, so that 0.6 is confident for b, and 0.7 is not for a."""
    rows = [
        ("a", 0.9, 0.1),
        ("a", 0.8, 0.2),
        ("a", 0.4, 0.6),
        ("b", 0.3, 0.7),
        ("b", 0.75, 0.25),
        ("b", 0.35, 0.65),
    ]
    found = suspected_labels.suspected(*judged(rows)[:1], ("a", "b"), judged(rows)[1])
    # a: mean of 0.9, 0.8, 0.4 is 0.7; b: mean of 0.7, 0.3, 0.65 is 0.53.
    assert [(one.example.path, one.suggested) for one in found] == [("4.png", "a"), ("2.png", "b")]
    assert (found[0].probability, found[0].of_label) == (0.75, 0.25)


def test_of_three_classes_the_likeliest_confident_one_is_suggested():
    rows = [
        ("a", 0.8, 0.1, 0.1),
        ("b", 0.1, 0.8, 0.1),
        ("b", 0.05, 0.15, 0.8),
        ("c", 0.1, 0.1, 0.8),
        ("c", 0.4, 0.35, 0.25),  # unsure of all
    ]
    examples, probabilities = judged(rows)
    (found,) = suspected_labels.suspected(examples, ("a", "b", "c"), probabilities)
    assert (found.example.path, found.suggested, found.of_label) == ("2.png", "c", 0.15)


def test_images_without_a_probability_and_classes_without_images_are_left_out():
    examples, probabilities = judged(
        [("a", 0.1, 0.1, 0.8), ("b", 0.1, 0.8, 0.1), ("a", 0.9, 0.1, 0)]
    )
    del probabilities["2.png"]
    assert suspected_labels.suspected(examples, ("a", "b", "c"), probabilities) == ()
    assert suspected_labels.suspected(examples, ("a", "b", "c"), {}) == ()
