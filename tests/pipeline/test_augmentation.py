import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from engine.base.settings import AugmentationSettings
from engine.pipeline import augmentation
from engine.pipeline.augmentation import PRESETS, Strengths

SIZE = (24, 32)


def draws(positions, *, seed=0, epoch=0, strengths=PRESETS["strong"], size=SIZE):
    return augmentation.draw(
        tf.constant(positions, tf.int64),
        seed=seed,
        epoch=epoch,
        image_size=size,
        strengths=strengths,
    )


def random_images(count=4, size=SIZE, channels=1):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *size, channels), dtype=np.uint8)


def test_uniform_draws_fill_their_range_and_are_uncorrelated():
    values = augmentation.uniform_draws(tf.range(20_000), seed=3, epoch=1, columns=12).numpy()
    assert values.min() >= -1
    assert values.max() < 1
    assert np.abs(values.mean(0)).max() < 0.03
    assert np.abs(values.var(0) - 1 / 3).max() < 0.01
    between_columns = np.corrcoef(values.T) - np.eye(12)
    between_rows = np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]
    assert np.abs(between_columns).max() < 0.03
    assert abs(between_rows) < 0.03


def test_uniform_draws_of_neighbouring_epochs_and_seeds_are_unrelated():
    one = augmentation.uniform_draws(tf.range(5_000), seed=0, epoch=0, columns=1).numpy()[:, 0]
    for seed, epoch in ((0, 1), (1, 0), (1, 1)):
        other = augmentation.uniform_draws(tf.range(5_000), seed=seed, epoch=epoch, columns=1)
        assert abs(np.corrcoef(one, other.numpy()[:, 0])[0, 1]) < 0.06


def test_a_draw_depends_on_its_position_alone_and_not_on_its_batch():
    together = draws([5, 6, 7, 8])
    apart = draws([7])
    np.testing.assert_array_equal(together["warp"][2], apart["warp"][0])
    np.testing.assert_array_equal(together["tone"][2], apart["tone"][0])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}])
def test_another_seed_or_epoch_draws_something_else(change):
    assert not np.allclose(draws([0, 1])["warp"], draws([0, 1], **change)["warp"])


def test_draws_are_the_same_eagerly_and_inside_a_dataset():
    dataset = tf.data.Dataset.from_tensors(0).map(lambda _: draws([0, 3], epoch=2))
    inside = next(iter(dataset))
    np.testing.assert_allclose(inside["warp"], draws([0, 3], epoch=2)["warp"], rtol=1e-6)


def test_nothing_drawn_leaves_pixels_as_they_are():
    images = random_images()
    drawn = draws([0, 1, 2, 3], strengths=Strengths())
    assert drawn == {}
    np.testing.assert_array_equal(augmentation.apply({"image": images, **drawn}), images)


def test_a_flip_alone_mirrors_about_half_of_the_images_exactly():
    images = random_images(200)
    drawn = draws(range(200), strengths=Strengths(horizontal_flip=True))
    seen = augmentation.apply({"image": images, **drawn}).numpy()
    same = np.array([np.allclose(a, b, atol=0.01) for a, b in zip(seen, images, strict=True)])
    mirrored = np.array(
        [np.allclose(a, b[:, ::-1], atol=0.01) for a, b in zip(seen, images, strict=True)]
    )
    assert (same ^ mirrored).all()
    assert 70 < mirrored.sum() < 130


def test_a_vertical_flip_turns_about_half_upside_down_whether_mirrored_or_not():
    images = random_images(200)
    both = Strengths(horizontal_flip=True, vertical_flip=True)
    seen = augmentation.apply({"image": images, **draws(range(200), strengths=both)}).numpy()
    views = [images[:, ::down, ::across] for down in (1, -1) for across in (1, -1)]
    fits = np.array(
        [[np.allclose(s, v, atol=0.01) for s, v in zip(seen, view, strict=True)] for view in views]
    )
    assert (fits.sum(axis=0) == 1).all()
    assert (fits.sum(axis=1) > 25).all()


def test_a_vertical_flip_changes_nothing_else_of_what_is_drawn():
    plain = draws(range(50))
    flipped = draws(range(50), strengths=dataclasses.replace(PRESETS["strong"], vertical_flip=True))
    for name in ("tone", "gamma", "blur", "spectrum", "spectrum_key"):
        np.testing.assert_array_equal(plain[name], flipped[name])
    same = (plain["warp"].numpy() == flipped["warp"].numpy()).all(axis=1)
    assert 10 < same.sum() < 40


def test_a_shift_moves_pixels_by_whole_shares_of_each_side():
    drawn = draws(range(500), strengths=Strengths(width_shift=0.25, height_shift=0.5))
    shift_x, shift_y = drawn["warp"][:, 2].numpy(), drawn["warp"][:, 5].numpy()
    assert 7 < np.abs(shift_x).max() <= 8
    assert 0.06 < (shift_x == 0).mean() < 0.2  # the images that are left as they are
    assert 11 < np.abs(shift_y).max() <= 12


def test_a_rotation_keeps_the_centre_and_turns_by_at_most_its_strength():
    drawn = draws(range(500), strengths=Strengths(rotation=30))
    warps = drawn["warp"].numpy()
    centre = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    matrices = warps[:, [0, 1, 3, 4]].reshape(-1, 2, 2)
    sent = matrices @ centre + warps[:, [2, 5]]
    np.testing.assert_allclose(sent, np.tile(centre, (500, 1)), atol=1e-4)
    angles = np.degrees(np.arctan2(matrices[:, 1, 0], matrices[:, 0, 0]))
    assert 28 < np.abs(angles).max() <= 30.001
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-5)


def test_zoom_scales_each_axis_within_its_strength():
    warps = draws(range(500), strengths=Strengths(zoom=0.2))["warp"].numpy()
    for column in (0, 4):
        assert 0.8 <= warps[:, column].min() < 0.82
        assert 1.18 < warps[:, column].max() <= 1.2
    assert np.abs(np.corrcoef(warps[:, 0], warps[:, 4])[0, 1]) < 0.15


def test_tone_and_gamma_do_what_their_formulas_say():
    images = np.full((1, 8, 8, 1), 51.0, np.float32)
    # A flat image stays at its mean under contrast: (0.2 + 0.1) ** 2 = 0.09.
    toned = augmentation.tone(images, tf.constant([[0.1, 0.5]]))
    np.testing.assert_allclose(toned, 0.3 * 255, rtol=1e-4)
    np.testing.assert_allclose(
        augmentation.gamma(toned, tf.constant([[2.0]])), 0.09 * 255, rtol=1e-4
    )


def test_tones_keep_pixels_in_range_and_neutral_ones_change_nothing():
    images = random_images(8).astype(np.float32)
    drawn = draws(range(8))
    for change, name in ((augmentation.tone, "tone"), (augmentation.gamma, "gamma")):
        seen = change(images, drawn[name]).numpy()
        assert seen.min() >= 0
        assert seen.max() <= 255.001
        assert np.abs(seen - images).max() > 5
    for change, neutral in (
        (augmentation.tone, [0.0, 1.0]),
        (augmentation.gamma, [1.0]),
        (augmentation.blur, [0.0]),
    ):
        drawn = tf.tile(tf.constant([neutral]), [8, 1])
        np.testing.assert_allclose(change(images, drawn), images, atol=0.05)


def test_blur_takes_fine_detail_away():
    images = random_images(1).astype(np.float32)
    blurred = augmentation.blur(images, tf.constant([[1.0]])).numpy()
    assert blurred.std() < 0.5 * images.std()


def test_only_what_is_asked_for_is_drawn():
    for preset, names in (
        ("none", set()),
        ("tutorial", {"warp"}),
        ("standard", {"warp", "tone", "gamma", "spectrum", "spectrum_key"}),
        ("strong", {"warp", "tone", "gamma", "blur", "spectrum", "spectrum_key"}),
    ):
        drawn = augmentation.draw(
            tf.range(4, dtype=tf.int64), seed=0, epoch=0, image_size=SIZE, strengths=PRESETS[preset]
        )
        assert set(drawn) == names


def test_explicit_strengths_stand_over_the_preset():
    settings = AugmentationSettings(augment="tutorial", rotation=3.0, horizontal_flip=False)
    strengths = augmentation.strengths_from(settings)
    assert strengths.rotation == 3
    assert not strengths.horizontal_flip
    assert strengths.shear == PRESETS["tutorial"].shear


def test_every_preset_name_is_known():
    for name in PRESETS:
        augmentation.strengths_from(AugmentationSettings(augment=name))
    assert not PRESETS["none"]


@pytest.mark.parametrize("channels", [1, 3])
def test_apply_is_the_same_eagerly_and_compiled(channels):
    batch = {"image": random_images(4, channels=channels), **draws(range(4))}
    compiled = tf.function(augmentation.apply)(batch)
    assert compiled.shape == (4, *SIZE, channels)
    assert compiled.dtype == tf.float32
    np.testing.assert_allclose(compiled, augmentation.apply(batch), atol=0.02)


def test_draws_and_pixels_may_stand_in_one_graph():
    images = random_images(8)
    compute = tf.function(lambda x: augmentation.apply({"image": x, **draws(list(range(8)))}))
    apart = augmentation.apply({"image": images, **draws(range(8))})
    np.testing.assert_allclose(compute(tf.constant(images)), apart, atol=0.01)


def test_an_eighth_of_the_images_is_at_most_mirrored():
    drawn = draws(range(2000))
    untouched = np.isclose(drawn["tone"].numpy(), [0, 1]).all(axis=1)
    assert abs(untouched.mean() - augmentation.INTACT_SHARE) < 0.03
    matrices = drawn["warp"].numpy()[untouched][:, [0, 1, 3, 4]]
    np.testing.assert_allclose(
        np.abs(matrices), np.tile([1, 0, 0, 1], (len(matrices), 1)), atol=1e-6
    )


@pytest.mark.parametrize(("black", "expected"), [(1.0, 0.0), (0.0, 200.0)])
def test_what_lies_outside_is_black_or_mirrored(black, expected):
    image = np.full((1, 10, 10, 1), 200, np.float32)
    warps = tf.constant([[1.0, 0, 4, 0, 1, 0, 0, 0, black]])
    seen = augmentation.warp(tf.constant(image), warps).numpy()[0, :, :, 0]
    np.testing.assert_allclose(seen[:, :6], 200)
    np.testing.assert_allclose(seen[:, 6:], expected)


def test_a_quarter_of_the_images_has_black_surroundings():
    black = draws(range(2000))["warp"].numpy()[:, 8]
    assert set(black) == {0.0, 1.0}
    assert abs(black.mean() - augmentation.BLACK_SHARE) < 0.04


@pytest.mark.parametrize(("black", "fill_mode"), [(1.0, "CONSTANT"), (0.0, "REFLECT")])
def test_the_warp_that_xla_compiles_equals_its_plain_form_and_the_kernel(black, fill_mode):
    images = tf.constant(random_images(16, channels=3))
    warps = draws(range(16))["warp"].numpy()
    warps[:, 8] = black
    compiled = augmentation.warp(images, warps)
    plain = augmentation.warp.python_function(images, tf.constant(warps))
    np.testing.assert_allclose(compiled, plain, atol=0.05)
    kernel = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=warps[:, :8],
        output_shape=SIZE,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
        fill_value=0.0,
    ).numpy()
    # The kernel fades to black over the outermost pixel, ours ends half a pixel outside.
    inside = np.ones((16, *SIZE), bool)
    if black:
        x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
        xx, xy, to_x, yx, yy, to_y = warps.T[:6, :, None, None]
        from_x, from_y = xx * x + xy * y + to_x, yx * x + yy * y + to_y
        outside = np.maximum(-from_x, from_x - SIZE[1] + 1)
        outside = np.maximum(outside, np.maximum(-from_y, from_y - SIZE[0] + 1))
        inside = (outside <= 0) | (outside >= 1)
        assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(compiled.numpy()[inside], kernel[inside], atol=0.05)
