import numpy as np
import pytest
import tensorflow as tf

from engine.pipeline import augmentation, spectrum
from engine.pipeline.augmentation import PRESETS, Strengths

WAVES = spectrum.NUM_WAVES


def factors(positions, *, seed=0, epoch=0, strength=0.8):
    drawn = spectrum.draw(
        tf.constant(positions, tf.int64), seed=seed, epoch=epoch, strength=strength
    )
    return drawn.numpy()


def wave(down, across, size=(40, 56), amplitude=20.0):
    """An image of one wave about grey: so many half periods down and across it."""
    rows = np.cos(np.pi * down * (np.arange(size[0]) + 0.5) / size[0])
    columns = np.cos(np.pi * across * (np.arange(size[1]) + 0.5) / size[1])
    return (127.5 + amplitude * np.outer(rows, columns)).astype(np.float32)[None, ..., None]


def neutral(count=1):
    return np.ones((count, WAVES, WAVES), np.float32)


def test_factors_lie_about_one_and_leave_the_mean():
    drawn = factors(range(2000), strength=0.5)
    assert drawn.shape == (2000, WAVES, WAVES)
    assert (drawn[:, 0, 0] == 1).all()
    assert 0 < drawn.min() < 0.4
    assert np.isfinite(drawn).all()
    # An image takes a share of its factors: those of some images are all about 1, those of others whole.
    logarithms = np.log(drawn.reshape(2000, -1)[:, 1:])
    spread = logarithms.std(axis=1)
    assert spread.min() < 0.01
    np.testing.assert_allclose(spread.max(), 0.5, atol=0.05)
    whole = logarithms[spread.argmax()] / spread.max()
    assert abs(np.mean(np.abs(whole) < 1) - 0.683) < 0.05  # as a normal distribution has them


def test_normal_numbers_are_finite_at_both_ends_of_uniform_ones():
    ends = spectrum.normal(tf.constant([0.0, 2.0**-24, 0.5, 1 - 2.0**-24])).numpy()
    np.testing.assert_allclose(ends, [-5.42, -5.29, 0, 5.29], atol=0.02)


def test_factors_are_the_positions_own_and_other_ones_in_other_epochs_and_runs():
    together = factors([5, 6, 7, 8])
    np.testing.assert_array_equal(together[2], factors([7])[0])
    for change in ({"seed": 1}, {"epoch": 1}):
        assert not np.allclose(factors([5, 6]), factors([5, 6], **change))


@pytest.mark.parametrize(("down", "across"), [(0, 3), (2, 0), (5, 11), (27, 27)])
def test_a_wave_is_multiplied_by_its_factor_and_others_are_left(down, across):
    chosen = neutral()
    chosen[0, down, across] = 1.5
    seen = spectrum.scaled(wave(down, across), chosen).numpy()
    np.testing.assert_allclose(seen, wave(down, across, amplitude=30.0), atol=1e-3)
    other = wave(down + 1, across + 2)
    np.testing.assert_allclose(spectrum.scaled(other, chosen), other, atol=1e-3)


@pytest.mark.parametrize("size", [(3, 5), (24, 32), (64, 31)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_and_channels_keep_their_means(size, channels):
    rng = np.random.default_rng(0)
    images = rng.uniform(100, 150, (6, *size, channels)).astype(np.float32)
    unchanged = spectrum.scaled(images, neutral(6))
    np.testing.assert_allclose(unchanged, images, atol=1e-3)
    seen = spectrum.scaled(images, factors(range(6))).numpy()
    np.testing.assert_allclose(seen.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.01)
    assert np.abs(seen - images).max() > 1


def test_an_eighth_of_the_images_keeps_its_waves():
    drawn = augmentation.draw(
        tf.range(2000, dtype=tf.int64),
        seed=0,
        epoch=0,
        image_size=(24, 24),
        strengths=PRESETS["standard"],
    )
    untouched = (drawn["spectrum"].numpy() == 1).all(axis=(1, 2))
    toned = (drawn["tone"].numpy() != [0, 1]).any(axis=1)
    assert abs(untouched.mean() - augmentation.INTACT_SHARE) < 0.03
    assert not (untouched & toned).any()


def test_alone_it_changes_coarse_waves_and_nothing_fine():
    rng = np.random.default_rng(0)
    images = rng.integers(80, 170, (4, 64, 64, 1), dtype=np.uint8)
    drawn = augmentation.draw(
        tf.range(4, dtype=tf.int64),
        seed=3,
        epoch=0,
        image_size=(64, 64),
        strengths=Strengths(spectrum=0.5),
    )
    assert set(drawn) == {"spectrum"}
    change = augmentation.apply({"image": images, **drawn}).numpy() - images
    spectra = np.abs(np.fft.rfft2(np.concatenate([change, change[:, ::-1]], axis=1)[..., 0]))
    coarse, fine = spectra[:, :14, :14].mean(), spectra[:, 40:88, 20:].mean()
    assert fine < 0.1 * coarse
