"""Pictures have the image file's own aspect and size, and say what their colours stand for."""

import numpy as np
import pytest
from PIL import Image

from engine.explaining import evidence_figure, feature_map_figure, kernel_figure, overlay, pictures
from engine.explaining.mosaic import mosaic
from engine.images.boxes import Box
from engine.images.format import ImageFormat
from engine.inference.kernels import Kernels
from engine.runs import figure_style


def panels(path):
    """The picture as float[H, W, 3]."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(float)


def draw(path, image, evidence, **options):
    given = {
        "caption": "sick, P(sick) = 0.900",
        "subject": "sick",
        "unit": "log-odds",
        "limit": 1.0,
    }
    evidence_figure.draw(path, image, evidence, **{**given, **options})


@pytest.mark.parametrize("size", [(600, 900), (900, 500), (1000, 1000)])
def test_each_pixel_of_the_file_is_a_dot_of_the_picture(tmp_path, size):
    """Found again exactly, twice where there is no evidence."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 1), np.uint8)
    draw(tmp_path / "a.png", image, np.zeros(size, np.float32))
    drawn = panels(tmp_path / "a.png")[..., 0]
    needle = image[100:110, 100:140, 0].astype(float)
    windows = np.lib.stride_tricks.sliding_window_view(drawn, needle.shape)[:, :, ::9, ::13]
    assert (np.abs(windows - needle[::9, ::13]).max(axis=(2, 3)) == 0).sum() == 2


def test_small_images_are_enlarged_and_tall_ones_keep_room_for_titles(tmp_path):
    draw(tmp_path / "a.png", np.zeros((12, 16, 3), np.uint8), np.ones((12, 16), np.float32))
    draw(tmp_path / "b.png", np.zeros((900, 90, 3), np.uint8), np.ones((900, 90), np.float32))
    small, tall = panels(tmp_path / "a.png"), panels(tmp_path / "b.png")
    assert small.shape[1] > 960 and small.shape[0] > 360
    assert tall.shape[0] > 900 and tall.shape[1] > 900


def test_an_absolute_scale_shows_weak_evidence_as_weak(tmp_path):
    image = np.full((500, 500, 1), 128, np.uint8)
    evidence = np.full((500, 500), 0.2, np.float32)
    draw(tmp_path / "own.png", image, evidence, limit=0.2)
    draw(tmp_path / "shared.png", image, evidence, limit=2.0, is_own=False)
    own, shared = panels(tmp_path / "own.png"), panels(tmp_path / "shared.png")
    place = 300, 700  # in the right panel
    assert np.abs(own[place] - 128).max() > 60
    assert np.abs(shared[place] - 128).max() < 20


def test_boxes_are_outlined(tmp_path):
    image, evidence = np.zeros((500, 500, 1), np.uint8), np.zeros((500, 500), np.float32)
    draw(tmp_path / "without.png", image, evidence)
    draw(tmp_path / "with.png", image, evidence, boxes=[Box(100, 100, 200, 150)])
    assert (panels(tmp_path / "with.png") != panels(tmp_path / "without.png")).any()


def test_formats_stand_beside_one_another_and_bytes_are_the_same_twice(tmp_path):
    image, evidence = np.zeros((50, 80, 1), np.uint8), np.eye(50, 80, dtype=np.float32)
    for name in ("a", "b"):
        draw(tmp_path / f"{name}.png", image, evidence, formats=("png", "svg"))
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("shape", [(5, 5, 1, 48), (7, 7, 3, 64), (3, 3, 24, 40), (1, 1, 3, 1)])
def test_kernels_of_any_shape_are_drawn(tmp_path, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernel_figure.draw(Kernels("stem/conv", values), tmp_path / "k.png")
    drawn = panels(tmp_path / "k.png")
    assert drawn.std() > 5


def test_a_colour_kernel_is_shown_in_its_colours(tmp_path):
    values = np.zeros((7, 7, 3, 1), np.float32)
    values[..., 0, 0] = 1  # looks for red
    kernel_figure.draw(Kernels("conv", values), tmp_path / "k.png")
    drawn = panels(tmp_path / "k.png")
    assert (np.abs(drawn - (255, 128, 128)).max(axis=2) <= 1).mean() > 0.02


def test_feature_maps_show_what_lies_on_the_image(tmp_path):
    """A map that is bright in the padding alone is flat on the image."""
    image_format = ImageFormat(image_size=(64, 64), channels=1, keep_aspect_ratio=True)
    features = np.zeros((8, 8, 70), np.float32)
    features[:2] = 1
    tile = feature_map_figure._tile(features[..., 0], image_format, (100, 300), (24, 72))
    assert tile.shape == (24, 72) and tile.max() == 0
    features[4, 4, :] = np.arange(70)
    feature_map_figure.draw(
        features,
        tmp_path / "f.png",
        layer="stage1",
        image_format=image_format,
        size=(100, 300),
        subject="a.png",
    )
    assert panels(tmp_path / "f.png").std() > 5


def test_a_mosaic_keeps_its_tiles_apart():
    found = mosaic([np.full((2, 3), value) for value in range(5)], columns=3, gap=1)
    assert found.shape == (7, 13)
    assert np.isnan(found[0]).all() and np.isnan(found[4:, 9:]).all()
    np.testing.assert_array_equal(found[4:6, 5:8], 4)


def test_names_are_free_and_safe():
    taken = set()
    assert [pictures.free_name("a", taken) for _ in range(3)] == ["a.png", "a-2.png", "a-3.png"]
    assert pictures._as_name("around/conv 1:x") == "around.conv.1.x"


def test_the_strongest_colour_is_as_opaque_as_the_bar_says():
    grey = np.full((4, 4, 1), 128, np.uint8)
    shown = overlay.overlay(grey, np.ones((4, 4)))
    assert (shown == shown[0, 0]).all() and np.abs(shown[0, 0].astype(int) - 128).max() > 40


def test_every_format_of_a_figure_is_known_as_one(tmp_path):
    kinds = ("png", "svg", "pdf")
    image = np.zeros((50, 80, 1), np.uint8)
    draw(tmp_path / "a.png", image, np.eye(50, 80, dtype=np.float32), formats=kinds)
    assert all(figure_style.is_figure(tmp_path / f"a.{kind}") for kind in kinds)
    Image.fromarray(image[..., 0]).save(tmp_path / "b.png")
    assert not figure_style.is_figure(tmp_path / "b.png")
    assert not figure_style.is_figure(tmp_path / "absent.png")
