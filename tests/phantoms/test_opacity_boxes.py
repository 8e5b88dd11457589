"""The boxes of phantoms lie around what the opacities change, and writing them changes no pixel."""

import csv

import numpy as np
import pytest

from engine.base.build_settings import PhantomConfig
from engine.phantoms import __main__ as phantoms
from engine.phantoms import opacity_boxes, phantom_folder, phantom_images

SMALL = "--train-images 8 --val-images 0 --test-images 4 --min-size 64 --max-size 80 --workers 1"
CONFIG = PhantomConfig(
    train_images=8, val_images=0, test_images=4, min_size=64, max_size=80, workers=1
)


def test_the_opacity_changes_the_image_inside_its_mask_most_of_all():
    """Against the same patient without the finding, before exposure."""
    for patient in range(6):
        drawn = {"seed": 0, "patient": (0, 1, patient), "view": 0}
        sizes = {"min_size": 120, "max_size": 160}
        finding = phantom_images.FINDINGS[patient % 2]
        masks = phantom_images.opacity_masks(**drawn, **sizes, finding=finding)
        rngs = [np.random.default_rng((0, stream, 0, 1, patient)) for stream in (0, 1, 1)]
        view = phantom_images.draw_view(np.random.default_rng((0, 2, 0, 1, patient, 0)), **sizes)
        anatomy = phantom_images.draw_anatomy(rngs[0])
        films = [
            phantom_images.attenuation(anatomy, phantom_images.draw_opacity(rng, kind), view)
            for rng, kind in ((rngs[1], finding), (rngs[2], None))
        ]
        change = films[0] - films[1]
        inside = masks.any(axis=0)
        assert inside.shape == change.shape and 0.01 < inside.mean() < 0.35
        assert change[inside].mean() > 5 * change[~inside].mean()
        assert inside.ravel()[change.argmax()]


def test_healthy_phantoms_have_no_mask():
    masks = phantom_images.opacity_masks(seed=0, patient=(0,), view=0, finding=None, max_size=300)
    assert masks.shape[0] == 0 and masks.dtype == bool


def test_a_box_is_the_smallest_around_its_mask():
    masks = np.zeros((3, 20, 30), bool)
    masks[0, 5:9, 10:17] = True
    masks[2, 0, 29] = True
    assert opacity_boxes.boxes_of(masks) == [(10, 5, 7, 4), (29, 0, 1, 1)]


def test_boxes_are_written_for_a_new_folder_and_for_one_made_before(tmp_path, capsys):
    assert phantoms.main([str(tmp_path / "plain"), *SMALL.split()]) == 0
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert phantoms.main([str(tmp_path / "a"), *SMALL.split(), "--boxes", str(first)]) == 0
    assert "boxes around" in capsys.readouterr().out
    assert phantoms.main([str(tmp_path / "plain"), *SMALL.split(), "--boxes", str(second)]) == 0
    assert first.read_bytes() == second.read_bytes()
    for phantom in phantom_folder.plan(CONFIG):
        made = [(tmp_path / name / phantom.path).read_bytes() for name in ("plain", "a")]
        assert made[0] == made[1]
    with open(first, newline="") as file:
        rows = list(csv.DictReader(file))
    sick = {phantom.path for phantom in phantom_folder.plan(CONFIG) if phantom.finding}
    assert {row["path"] for row in rows} <= sick and len(rows) >= len(sick)


@pytest.mark.parametrize("place", ["taken", "taken/boxes.csv"])
def test_a_place_that_cannot_be_written_is_refused_before_drawing(tmp_path, capsys, place):
    (tmp_path / "taken").mkdir() if place == "taken" else (tmp_path / "taken").write_text("")
    assert (
        phantoms.main([str(tmp_path / "new"), *SMALL.split(), "--boxes", str(tmp_path / place)])
        == 2
    )
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new").exists()
