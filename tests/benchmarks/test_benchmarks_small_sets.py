"""Draws of a few images: half of each class, and no patient twice; and the table of what they gave."""

import pytest

from benchmarks import small_sets
from engine.base.config import UserError
from engine.images import image_folder, patients
from engine.runs import figure_style


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Files of 60 patients of each class with up to two images each, and 5 patients of both classes."""
    root = tmp_path_factory.mktemp("small-sets") / "images"
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        (root / name).mkdir(parents=True)
        for patient in [*range(label * 60, label * 60 + 60), *range(500, 505)]:
            for image in range(1 + patient % 2):
                (root / name / f"person{patient}_virus_{image}{label}.jpeg").touch()
    return root


def examples_of(folder):
    found, warnings = patients.with_patients(image_folder.scan(folder).examples, "patient")
    assert not warnings
    return found


def test_each_draw_has_half_of_each_class_and_no_patient_twice(images, tmp_path):
    draws = small_sets.draw(images, tmp_path, draws=3, held_out=20, seed=1)
    held_out = {one.patient for one in examples_of(draws.held_out)}
    assert len(held_out) == 20
    drawn = []
    for folder in draws.folders:
        found = examples_of(folder)
        counts = {}
        for one in found:
            place = one.split, one.class_name
            counts[place] = counts.get(place, 0) + 1
        expected = {"train": 16, "validation": 5, "test": 8}
        names = ("NORMAL", "PNEUMONIA")
        assert counts == {(split, n): count for split, count in expected.items() for n in names}
        of_draw = [one.patient for one in found]
        assert len(set(of_draw)) == len(of_draw)
        assert not held_out & set(of_draw)
        drawn.append(sorted(one.path for one in found))
    assert drawn[0] != drawn[1] != drawn[2]


def test_the_same_seed_draws_the_same_images(images, tmp_path):
    one, other = (
        small_sets.draw(images, tmp_path / name, draws=1, held_out=10, seed=3) for name in "ab"
    )
    names = [[x.path for x in examples_of(draws.folders[0])] for draws in (one, other)]
    assert names[0] == names[1]


def test_too_few_patients_are_named_with_their_number(images, tmp_path):
    with pytest.raises(UserError, match="NORMAL, expected 129 or more"):
        small_sets.draw(images, tmp_path, draws=1, held_out=200, seed=0)


def test_the_table_has_the_mean_over_the_draws_and_their_range():
    rows = [
        {"test": 0.5, "held_out": 0.6, "auroc": 0.7},
        {"test": 1.0, "held_out": 0.8, "auroc": 0.9},
    ]
    lines = small_sets.table({"one": rows, "other": rows[:1]})
    assert lines[0] == "| | one | other |"
    assert "| accuracy on 16 test images | 0.750 (0.500-1.000) | 0.500 (0.500-0.500) |" in lines


def test_the_figure_joins_both_on_every_draw(tmp_path, monkeypatch):
    rows = [{"held_out": 0.1 * i, "auroc": 0.5 + 0.1 * i} for i in range(1, 4)]
    drawn = []
    monkeypatch.setattr(figure_style, "save", lambda figure, path: drawn.append(figure))
    small_sets.draw_figure({"one": rows, "other": rows[::-1]}, tmp_path / "a.png")
    left, right = drawn[0].axes
    assert [len(axes.lines) for axes in (left, right)] == [3, 3]
    first = left.lines[0]
    assert list(first.get_xdata()) == pytest.approx([0.1, 0.3])
    assert list(first.get_ydata()) == [1, 1]


def test_a_figure_of_an_unknown_kind_is_refused_before_anything_is_drawn(images, tmp_path, capsys):
    workdir = tmp_path / "work"
    called = [str(images), "--workdir", str(workdir), "--figure", str(tmp_path / "a.bmp")]
    assert small_sets.main(called) == 2
    assert "png" in capsys.readouterr().err
    assert not workdir.exists()


@pytest.mark.parametrize("place", ["", "NORMAL", "..", "../mine"])
def test_nothing_but_an_earlier_call_is_replaced(images, place, capsys):
    mine = images.parent / "mine"
    mine.mkdir(exist_ok=True)
    (mine / "thesis.txt").write_text("mine")
    before = sorted(images.parent.rglob("*"))
    assert small_sets.main([str(images), "--workdir", str(images / place)]) == 2
    assert "--workdir" in capsys.readouterr().err
    assert sorted(images.parent.rglob("*")) == before


def test_an_earlier_call_is_replaced_once_the_images_are_known_to_do(images, tmp_path):
    workdir = tmp_path / "work"
    small_sets.draw(images, workdir, draws=2, held_out=20, seed=1)
    with pytest.raises(UserError, match="expected 129 or more"):
        small_sets.draw(images, workdir, draws=1, held_out=200, seed=1)
    assert (workdir / "draw-1").is_dir()
    small_sets.draw(images, workdir, draws=1, held_out=20, seed=1)
    assert not (workdir / "draw-1").exists() and (workdir / "held-out").is_dir()
    (workdir / "patients.csv").touch()
    with pytest.raises(UserError, match=r"holds patients\.csv"):
        small_sets.draw(images, workdir, draws=1, held_out=20, seed=1)
