import numpy as np
import pytest
import tensorflow as tf

from engine.pipeline import augmentation, spectrum
from engine.pipeline.augmentation import PRESETS, Strengths

COUNT = spectrum.NUM_FREQUENCIES


def factors(positions, *, seed=0, epoch=0, strength=0.8):
    keys = spectrum.draw(tf.constant(positions, tf.int64), seed=seed, epoch=epoch)
    return spectrum.factors(keys, tf.fill([len(positions), 1], strength)).numpy()


def cosine(down, across, size=(40, 56), amplitude=20.0):
    """An image of one frequency about grey: so many half periods down and across it."""
    rows = np.cos(np.pi * down * (np.arange(size[0]) + 0.5) / size[0])
    columns = np.cos(np.pi * across * (np.arange(size[1]) + 0.5) / size[1])
    return (127.5 + amplitude * np.outer(rows, columns)).astype(np.float32)[None, ..., None]


def neutral(count=1):
    return np.ones((count, COUNT, COUNT), np.float32)


def test_factors_lie_about_one_and_leave_the_mean():
    drawn = factors(range(2000), strength=0.5)
    assert drawn.shape == (2000, COUNT, COUNT)
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
def test_a_frequency_is_multiplied_by_its_factor_and_others_are_left(down, across):
    chosen = neutral()
    chosen[0, down, across] = 1.5
    seen = spectrum.scaled(cosine(down, across), chosen).numpy()
    np.testing.assert_allclose(seen, cosine(down, across, amplitude=30.0), atol=1e-3)
    other = cosine(down + 1, across + 2)
    np.testing.assert_allclose(spectrum.scaled(other, chosen), other, atol=1e-3)


@pytest.mark.parametrize("size", [(3, 5), (24, 32), (64, 31)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_and_channels_keep_their_means(size, channels):
    rng = np.random.default_rng(0)
    images = rng.uniform(100, 150, (6, *size, channels)).astype(np.float32)
    np.testing.assert_allclose(spectrum.scaled(images, neutral(6)), images, atol=1e-3)
    seen = spectrum.scaled(images, factors(range(6), strength=0.4)).numpy()
    np.testing.assert_allclose(seen.mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.01)
    assert np.abs(seen - images).max() > 1


def test_an_image_that_would_leave_the_range_is_compressed_and_keeps_its_order():
    image = cosine(2, 3, amplitude=100.0)
    strong = neutral()
    strong[0, 2, 3] = 4.0
    seen = spectrum.scaled(image, strong).numpy()
    np.testing.assert_allclose([seen.min(), seen.max()], [0, 255], atol=0.01)
    assert np.corrcoef(seen.ravel(), image.ravel())[0, 1] > 0.9999


def test_compiled_and_eager_and_in_batches_of_any_size_it_is_the_same():
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (6, 40, 40, 1)).astype(np.float32)
    keys = spectrum.draw(tf.range(6, dtype=tf.int64), seed=1, epoch=2)
    strengths = tf.fill([6, 1], 0.8)
    together = spectrum.vary(images, keys, strengths)
    eager = spectrum.scaled(images, spectrum.factors(keys, strengths))
    np.testing.assert_allclose(together, eager, atol=0.01)
    np.testing.assert_allclose(
        together[2:4], spectrum.vary(images[2:4], keys[2:4], strengths[2:4]), atol=0.01
    )


def test_keys_are_the_same_eagerly_and_inside_a_dataset():
    def drawn(_=0):
        return spectrum.draw(tf.constant([0, 3], tf.int64), seed=0, epoch=2)

    dataset = tf.data.Dataset.range(1).map(drawn)
    np.testing.assert_array_equal(next(iter(dataset)), drawn())


def test_an_eighth_of_the_images_keeps_its_frequencies():
    drawn = augmentation.draw(
        tf.range(2000, dtype=tf.int64),
        seed=0,
        epoch=0,
        image_size=(24, 24),
        strengths=PRESETS["standard"],
    )
    untouched = drawn["spectrum"].numpy()[:, 0] == 0
    toned = (drawn["tone"].numpy() != [0, 1]).any(axis=1)
    assert abs(untouched.mean() - augmentation.INTACT_SHARE) < 0.03
    assert not (untouched & toned).any()
    assert (
        (spectrum.factors(drawn["spectrum_key"], drawn["spectrum"])[untouched] == 1).numpy().all()
    )


def test_alone_it_changes_low_frequencies_and_nothing_fine():
    rng = np.random.default_rng(0)
    images = rng.integers(80, 170, (4, 64, 64, 1), dtype=np.uint8)
    drawn = augmentation.draw(
        tf.range(4, dtype=tf.int64),
        seed=3,
        epoch=0,
        image_size=(64, 64),
        strengths=Strengths(spectrum=0.5),
    )
    assert set(drawn) == {"spectrum", "spectrum_key"}
    change = augmentation.apply({"image": images, **drawn}).numpy() - images
    spectra = np.abs(np.fft.rfft2(np.concatenate([change, change[:, ::-1]], axis=1)[..., 0]))
    low, high = spectra[:, :14, :14].mean(), spectra[:, 40:88, 20:].mean()
    assert high < 0.1 * low
