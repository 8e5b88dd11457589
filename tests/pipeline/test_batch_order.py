"""Properties of orders; each holds for NumPy's permutations too."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from engine.pipeline import batch_order

SIZE, EPOCHS, BATCH = 500, 2000, 64


def orders_of(size, epochs, *, seed=0, **options):
    """int64[epochs, size]."""

    positions = tf.range(size, dtype=tf.int64)
    dataset = tf.data.Dataset.from_tensor_slices(tf.constant(list(epochs), tf.int64)).map(
        lambda epoch: batch_order.shuffled(positions, seed, epoch, size, **options)
    )
    return dataset.batch(len(epochs)).get_single_element().numpy()


@pytest.fixture(scope="module")
def orders():
    return orders_of(SIZE, range(EPOCHS))


def number_of_distinct(orders):
    return len({order.tobytes() for order in orders})


def chi2_per_degree(counts, chance, draws, degrees):
    expected = draws * chance
    return ((counts - expected) ** 2 / expected).sum() / degrees


def test_no_two_of_2000_epochs_are_alike(orders):
    assert number_of_distinct(orders) == EPOCHS
    assert (np.sort(orders, axis=1) == np.arange(SIZE)).all()


def test_no_two_seeds_classes_or_other_purposes_are_alike():
    """`seed + 1 + class` made class 0 of seed 1 class 1 of seed 0."""
    seeds = (0, 1, 2, 256, 512, 2**31, 2**32, 2**32 + 1, -1, -256)
    purposes = ("examples", "shards", "class 0", "class 1")
    orders = [
        orders_of(SIZE, range(3), seed=seed, purpose=purpose)
        for seed in seeds
        for purpose in purposes
    ]
    assert number_of_distinct(np.concatenate(orders)) == 3 * len(seeds) * len(purposes)


def test_every_example_is_left_out_equally_often(orders):
    whole = SIZE // BATCH * BATCH
    counts = np.bincount(orders[:, whole:].ravel(), minlength=SIZE)
    chance = 1 - whole / SIZE
    # Whoever is left out is not drawn: the spread of counts is (1 - chance) times Poisson's.
    ratio = chi2_per_degree(counts, chance, EPOCHS, SIZE - 1) / (1 - chance)
    assert abs(ratio - 1) < 0.3  # 256 orders: 5 and more


def test_every_example_comes_everywhere_equally_often(orders):
    places = np.argsort(orders, axis=1) * 10 // SIZE
    counts = np.stack([(places == part).sum(axis=0) for part in range(10)])
    assert abs(chi2_per_degree(counts, 0.1, EPOCHS, 9 * (SIZE - 1)) - 1) < 0.1


def test_an_epoch_tells_nothing_of_the_next(orders):
    correlations = [np.corrcoef(orders[i], orders[i + 1])[0, 1] for i in range(EPOCHS - 1)]
    assert abs(SIZE * np.mean(np.square(correlations)) - 1) < 0.2


@pytest.mark.parametrize("size", [20_000, 120_000])
def test_those_of_one_batch_meet_again_as_rarely_as_by_chance(size):
    """With 4 rounds of the cipher, 46 to 72 times as often at a million examples."""
    steps = size // BATCH
    batches = np.argsort(orders_of(size, range(6)), axis=1) // BATCH
    meetings = 0
    for one, other in itertools.pairwise(batches):
        whole = one < steps
        _, counts = np.unique(one[whole] * (steps + 1) + other[whole], return_counts=True)
        meetings += (counts * (counts - 1) // 2).sum()
    chance = 5 * steps * BATCH * (BATCH - 1) / 2 * (BATCH - 1) / (size - 1)
    assert 0.85 < meetings / chance < 1.15  # within five deviations


@pytest.mark.parametrize("apart", [1, 16, 256])
def test_neighbours_are_sent_any_distance_apart(apart):
    """Of 64 ranges of distances; with 4 rounds of the cipher, chi2 is 600 to 17,000 per degree."""
    size = 60_000
    orders = orders_of(size, range(10))
    distances = (orders[:, apart:] - orders[:, :-apart]) % size
    counts = np.bincount((distances * 64 // size).ravel(), minlength=64)
    assert abs(chi2_per_degree(counts, 1 / 64, distances.size, 63) - 1) < 0.8  # 4.5 deviations


@pytest.mark.parametrize("size", [1, 2, 3, 10, 65_536, 65_537, 262_145])
def test_any_number_of_things_is_permuted(size):
    """TensorFlow's own shuffle of 65,537 or 262,145 gives one number twice and one never."""
    for order in orders_of(size, range(2)):
        assert np.bincount(order, minlength=size).tolist() == [1] * size


def test_a_fixed_place_of_the_cipher_is_not_one_of_the_order():
    size = 65_537
    places = tf.constant([0, size - 1], tf.int64)
    sent = [
        batch_order.shuffled(places, 0, tf.constant(epoch, tf.int64), size) for epoch in range(20)
    ]
    assert len(np.unique(np.stack(sent))) > 35


def test_an_order_is_the_same_eagerly_and_in_a_dataset_and_for_any_part_of_it():
    positions, epoch = tf.constant([4, 99, 0], tf.int64), tf.constant(2**40, tf.int64)
    whole = orders_of(100, [2**40], seed=9)[0]
    dataset = tf.data.Dataset.from_tensors(epoch).map(
        lambda epoch: batch_order.shuffled(positions, 9, epoch, 100)
    )
    np.testing.assert_array_equal(next(iter(dataset)), whole[[4, 99, 0]])
    np.testing.assert_array_equal(batch_order.shuffled(positions, 9, epoch, 100), whole[[4, 99, 0]])


def test_balanced_orders_of_classes_are_unrelated():
    """The draws of two classes of one size, and of neighbouring seeds."""
    labels = np.repeat([0, 1], 40)

    def draws(seed):
        order_at = batch_order.make_order(
            labels, global_batch_size=80, steps=1, seed=seed, sampling="balanced", num_classes=2
        )
        order = order_at(tf.constant(3, tf.int64), tf.range(80, dtype=tf.int64)).numpy()
        return [order[labels[order] == label] % 40 for label in (0, 1)]

    found = [tuple(members) for seed in (0, 1, 2) for members in draws(seed)]
    assert all(sorted(members) == list(range(40)) for members in found)
    assert len(set(found)) == len(found)
