import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from engine.pipeline import mixing
from engine.pipeline.mixing import Mixing

SIZE = (12, 20)


def draw(positions, options, *, seed=0, epoch=0):
    drawn = mixing.draw(
        tf.constant(positions, tf.int64), seed=seed, epoch=epoch, image_size=SIZE, mixing=options
    )
    return drawn["mix"].numpy()


def make_images(count):
    return np.random.default_rng(0).uniform(0, 255, (count, *SIZE, 1)).astype(np.float32)


@pytest.mark.parametrize(
    "options", [Mixing(mixup=0.3), Mixing(cutmix=1.0), Mixing(mixup=1, cutmix=1)]
)
def test_draws_are_of_the_position_whatever_batch_it_comes_in(options):
    whole = draw(range(64), options, epoch=3)
    parts = [draw(range(start, start + 16), options, epoch=3) for start in range(0, 64, 16)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert (whole != draw(range(64), options, epoch=4)).any()
    assert (whole != draw(range(64), options, epoch=3, seed=1)).any()


def test_off_draws_nothing():
    assert not mixing.draw(
        tf.range(4, dtype=tf.int64), seed=0, epoch=0, image_size=SIZE, mixing=Mixing()
    )


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 5.0])
def test_shares_follow_the_beta_distribution(alpha):
    shares = draw(range(20_000), Mixing(mixup=alpha))[:, 0]
    levels = np.array([0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
    found = [(shares <= level).mean() for level in levels]
    np.testing.assert_allclose(found, stats.beta(alpha, alpha).cdf(levels), atol=0.012)


@pytest.mark.parametrize("alpha", [1e-3, 100.0])
def test_extreme_alphas_give_shares_from_0_to_1(alpha):
    shares = draw(range(1000), Mixing(mixup=alpha))[:, 0]
    assert ((shares >= 0) & (shares <= 1)).all()


def test_mixup_is_the_weighted_mean_of_neighbours():
    images, mix = make_images(8), draw(range(8), Mixing(mixup=1.0))
    share = mix[:, 0, None, None, None]
    partners = images[[1, 0, 3, 2, 5, 4, 7, 6]]
    np.testing.assert_allclose(
        mixing.apply(images, mix), share * images + (1 - share) * partners, rtol=1e-5
    )


def test_cutmix_takes_each_pixel_from_one_of_both_and_the_label_by_area():
    images, mix = make_images(64), draw(range(64), Mixing(cutmix=1.0))
    partners = images.reshape(32, 2, *SIZE, 1)[:, ::-1].reshape(images.shape)
    mixed = mixing.apply(images, mix).numpy()
    own, others = mixed == images, mixed == partners
    assert (own | others).all()
    np.testing.assert_allclose(own.mean(axis=(1, 2, 3)), mixing.label_share(mix), atol=1e-6)
    for pasted in ~own[..., 0]:  # a rectangle
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns[None, :])


def test_with_both_methods_images_take_one_of_them_by_chance():
    mix = draw(range(2000), Mixing(mixup=1.0, cutmix=1.0))
    pasted = mix[:, 1] == 1
    assert 0.45 < pasted.mean() < 0.55


def test_halves_of_a_batch_mix_as_the_whole():
    images, mix = make_images(8), draw(range(8), Mixing(mixup=1, cutmix=1))
    halves = [mixing.apply(images[part], mix[part]) for part in (slice(4), slice(4, 8))]
    np.testing.assert_array_equal(mixing.apply(images, mix), np.concatenate(halves))
    assert mixing.neighbours(tf.range(4)).numpy().tolist() == [1, 0, 3, 2]
