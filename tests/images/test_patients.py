import pytest

from engine.base.config import UserError
from engine.images import patients
from engine.images.image_folder import Example


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person5_bacteria_15.jpeg", "person5"),
        ("person5_virus_16.jpeg", "person5"),
        ("IM-0383-0001.jpeg", "IM-0383"),
        ("IM-0383-0001-0002.jpeg", "IM-0383"),
        ("NORMAL2-IM-0383-0001.jpeg", "IM-0383"),
        ("scan_17.jpeg", ""),
    ],
)
def test_names_of_the_public_set(name, patient):
    found, warnings = patients.with_patients([Example(f"train/a/{name}", "a", "train")], "patient")
    assert found[0].patient == patient
    assert bool(warnings) == (not patient)


@pytest.mark.parametrize(
    ("pattern", "patient"),
    [("^([0-9]+)_", "17"), ("_(?P<x>..)_(?P<patient>[a-z])", "b"), ("/(p[0-9])/", "p3")],
)
def test_a_regular_expression_finds_the_patient(pattern, patient):
    examples = [Example("a/p3/17_xx_b.png", "a", "")]
    assert patients.with_patients(examples, pattern)[0][0].patient == patient


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("([0-9", "no regular expression"), ("[0-9]+", "without a group"), ("(zzz)", "matches none")],
)
def test_wrong_regular_expressions(pattern, message):
    with pytest.raises(UserError, match=message):
        patients.with_patients([Example("a/1.png", "a", "")], pattern)


def test_group_by_none_finds_no_patients():
    found, warnings = patients.with_patients([Example("a/IM-1-1", "a", "")], "none")
    assert (found[0].patient, warnings) == ("", [])
