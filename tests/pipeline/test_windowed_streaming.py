import itertools

import numpy as np
import pytest
from numbered_shards import write_shards

from engine.pipeline import windowed_streaming
from engine.pipeline.reading import StoredSplit
from engine.pipeline.share import WHOLE, Share

EXAMPLES, BATCH = 70, 16
STEPS = EXAMPLES // BATCH


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("encoded")
    return directory, write_shards(directory, {"train": EXAMPLES}, encoding="png")


def numbers_of(encoded, steps, *, window=32, seed=0, start=0, share=WHOLE):
    """The example numbers in each of the batches of `steps` steps, int[batches, B]."""
    shards, manifest = encoded
    batches = windowed_streaming.make_batches(
        StoredSplit(shards, "train", manifest).shard_paths,
        manifest,
        num_examples=EXAMPLES,
        global_batch_size=BATCH,
        seed=seed,
        shuffle_window=window,
        start_step=start,
        features=("path",),
        share=share,
    )
    taken = itertools.islice(batches.as_numpy_iterator(), steps * share.count)
    return np.array([[int(path.split(b".")[0]) for path in batch["path"]] for batch in taken])


# The last window holds less than a batch; a batch and more; there is one window.
@pytest.mark.parametrize("window", [32, 48, 4096])
def test_every_example_is_left_out_equally_often(encoded, window):
    """Left to the last window, examples at the ends of the shards were drawn in 7 epochs of 60."""
    epochs = 120
    seen = numbers_of(encoded, epochs * STEPS, window=window).reshape(epochs, -1)
    assert all(len(np.unique(numbers)) == STEPS * BATCH for numbers in seen)
    left_out = epochs - np.bincount(seen.ravel(), minlength=EXAMPLES)
    chance = 1 - STEPS * BATCH / EXAMPLES
    expected = epochs * chance
    # Whoever is left out is not drawn: the spread of counts is (1 - chance) times Poisson's.
    chi2 = ((left_out - expected) ** 2 / expected).sum() / (1 - chance)
    assert abs(chi2 / (EXAMPLES - 1) - 1) < 0.5  # three deviations


@pytest.mark.parametrize("start", [1, 2, 3, 4, 7, 13])
@pytest.mark.parametrize("window", [16, 32, 48])
def test_batches_opened_at_any_step_go_on_exactly_there(encoded, window, start):
    whole = numbers_of(encoded, start + 6, window=window, seed=2)
    np.testing.assert_array_equal(
        numbers_of(encoded, 6, window=window, seed=2, start=start), whole[start:]
    )


def test_shares_put_together_are_the_whole_batches(encoded):
    whole = numbers_of(encoded, 6, start=3)
    one = numbers_of(encoded, 6, start=3, share=Share(0, 1, 4))
    others = numbers_of(encoded, 6, start=3, share=Share(1, 3, 4)).reshape(6, -1)
    np.testing.assert_array_equal(np.concatenate([one, others], axis=1), whole)


def test_no_two_epochs_or_seeds_are_alike(encoded):
    epochs = [
        numbers.tobytes()
        for seed in (0, 1, 2**32)
        for numbers in numbers_of(encoded, 20 * STEPS, seed=seed).reshape(20, -1)
    ]
    assert len(set(epochs)) == 60
