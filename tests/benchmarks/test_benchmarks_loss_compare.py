import dataclasses
import math

import pytest

from benchmarks import loss_compare

SIDE = loss_compare.Outcome(
    shards={"train-0": "aa", "validation-0": "bb"},
    losses=[0.75, 0.5, 0.25],
    val_losses=[0.7, 0.6, 0.5],
    weights="cc",
)


def test_equal_sides_have_no_differences():
    assert loss_compare.differences(SIDE, dataclasses.replace(SIDE)) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shards": {"train-0": "aa", "validation-0": "xx"}}, "shards differ: validation-0"),
        ({"shards": {"train-0": "aa"}}, "shards differ: validation-0"),
        ({"losses": [0.75, math.nextafter(0.5, 1), 0.25]}, "losses differ from step 2 on"),
        ({"losses": [0.75, math.nan, 0.25]}, "losses differ from step 2 on"),
        ({"losses": [0.75]}, "losses: 3 steps and 1"),
        ({"val_losses": [0.7, 0.6, 0.6]}, "val_losses differ from step 3 on"),
        ({"weights": "xx"}, "weights at the end differ"),
    ],
)
def test_every_difference_is_named(changes, said):
    (line,) = loss_compare.differences(SIDE, dataclasses.replace(SIDE, **changes))
    assert line.startswith(said)


def test_a_tolerance_allows_rounding_and_other_weights_but_no_other_shards():
    rounded = dataclasses.replace(SIDE, losses=[0.75, 0.5 + 1e-7, 0.25], weights="xx")
    assert loss_compare.differences(SIDE, rounded, tolerance=1e-6) == []
    assert loss_compare.differences(SIDE, rounded, tolerance=1e-8)
    other = dataclasses.replace(rounded, shards={})
    assert loss_compare.differences(SIDE, other, tolerance=1e-6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-revision"], "cannot be checked out"),
        ([".", "--devices", "2"], "expected two numbers"),
    ],
)
def test_wrong_input_gets_one_line(arguments, said, capsys):
    assert loss_compare.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
