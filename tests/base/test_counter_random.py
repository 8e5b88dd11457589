import itertools

import numpy as np
import pytest
import tensorflow as tf

from engine.base import counter_random

SEEDS = (0, 1, -1, 2**31 - 1, 2**32, 2**32 + 1, 2**63, 2**64, -(2**63))


def keys_of(count, *, seed=0, epoch=0, **options):
    positions = tf.range(count, dtype=tf.int64)
    return counter_random.row_keys(positions, seed=seed, epoch=epoch, **options).numpy()


def test_no_two_epochs_share_keys_or_draws():
    """An epoch's keys are a run of a stream; of 32 bits, 12 pairs of these runs would overlap."""
    epochs = tf.range(50_000, dtype=tf.int64)[:, None]
    keys = keys_of(20, epoch=epochs).ravel()
    assert keys.dtype == np.uint64
    assert len(np.unique(keys)) == 1_000_000
    draws = np.ascontiguousarray(counter_random.uniform(tf.constant(keys), 2)).view(np.int64)
    # Of 2**48 pairs of draws, a million meet 0.002 times by chance.
    assert len(np.unique(draws)) == 1_000_000


def test_words_of_epochs_seeds_and_purposes_are_distinct():
    words = [
        counter_random.epoch_words(4, seed=seed, epoch=epoch, purpose=purpose).numpy()
        for seed in SEEDS
        for epoch in (0, 1, 2, 256, 2**32)
        for purpose in ("a", "b")
    ]
    assert min(map(np.min, words)) >= 0
    assert max(map(np.max, words)) < 2**32
    # Of 2**32, 360 meet 0.00002 times by chance.
    assert len(np.unique(words)) == 4 * len(words)


@pytest.mark.parametrize("bit", [0, 1, 17, 31, 32, 47, 63])
def test_any_bit_of_the_counters_changes_half_of_the_bits(bit):
    positions = np.arange(4000, dtype=np.uint64)
    flipped = positions ^ np.uint64(1 << bit)
    one, other = (counter_random.row_keys(p, seed=3, epoch=5).numpy() for p in (positions, flipped))
    assert_half_of_the_bits_differ(one ^ other)
    if bit < 63:
        epoch = tf.constant(5 ^ (1 << bit), tf.int64)
        assert_half_of_the_bits_differ(
            one ^ counter_random.row_keys(positions, seed=3, epoch=epoch).numpy()
        )


def assert_half_of_the_bits_differ(differences):
    bits = np.unpackbits(differences.view(np.uint8)).reshape(-1, 64)
    # Five deviations of a fair coin's mean over as many throws.
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(bits))


def test_seeds_of_any_size_and_purposes_are_unrelated():
    streams = [keys_of(1000, seed=seed) for seed in SEEDS]
    streams += [keys_of(1000, purpose=purpose) for purpose in ("a", "b", "class 1")]
    assert len(np.unique(np.concatenate(streams))) == 1000 * len(streams)
    for one, other in itertools.pairwise(streams):
        assert_half_of_the_bits_differ(one ^ other)


@pytest.mark.parametrize("salt", [0, 0xFFFFFFFF])
def test_uniform_numbers_fill_their_range_evenly_and_columns_are_unrelated(salt):
    values = counter_random.uniform(keys_of(100_000), 4, salt=salt).numpy()
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.stack([np.histogram(column, 100, (0, 1))[0] for column in values.T])
    chi2_per_degree = ((counts - 1000) ** 2 / 1000).sum(axis=1) / 99
    assert (np.abs(chi2_per_degree - 1) < 0.6).all()
    assert np.abs(np.corrcoef(values.T) - np.eye(4)).max() < 0.015


def test_numbers_are_the_same_eagerly_in_a_dataset_and_compiled():
    """The keys are made in tf.data and used on the device, perhaps compiled by XLA."""

    def draw(positions, epoch):
        keys = counter_random.row_keys(positions, seed=2**40, epoch=epoch)
        return keys, counter_random.uniform(keys, 5, salt=0xFFFFFFFF)

    positions, epoch = tf.range(64, dtype=tf.int64) + 10**9, tf.constant(2**33, tf.int64)
    keys, numbers = draw(positions, epoch)
    dataset = tf.data.Dataset.from_tensors(0).map(lambda _: draw(positions, epoch))
    compiled = tf.function(draw, jit_compile=True)(positions, epoch)
    for other_keys, other_numbers in (next(iter(dataset)), compiled):
        np.testing.assert_array_equal(keys, other_keys)
        np.testing.assert_array_equal(numbers, other_numbers)


def test_the_generator_is_splitmix64():
    """Its first numbers from the start 1234567, as published with the reference implementation."""
    start = tf.constant(1234567, tf.uint64)
    numbers = counter_random._number(start, tf.constant(np.arange(3, dtype=np.uint64)))
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert numbers.numpy().tolist() == expected
