import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from numbered_shards import SIZE, write_shards

from engine.base.config import UserError
from engine.pipeline import augmentation
from engine.pipeline.mixing import Mixing
from engine.pipeline.plan import InputPlan
from engine.pipeline.reading import StoredSplit
from engine.pipeline.share import WHOLE, Share
from engine.pipeline.training_input import TrainingInput

BATCH = 16
TIERS = ("memory", "streaming")


@pytest.fixture(scope="module")
def numbered(tmp_path_factory):
    directory = tmp_path_factory.mktemp("numbered")
    write_shards(directory, {"train": 150, "validation": 37})
    return directory


def training_input(shards, **options):
    return TrainingInput(InputPlan(**{"global_batch_size": BATCH, **options}), shards)


def train_dataset(shards, *, start_step=0, **options):
    return training_input(shards, **options).dataset(start_step)


def numbers_of(dataset, steps):
    """The example numbers in each of the first `steps` batches, int[steps, B]."""
    taken = itertools.islice(iter(dataset), steps)
    return np.array([batch["image"].numpy()[:, 0, 0, 0] for batch in taken])


@pytest.mark.parametrize("cache", TIERS)
@pytest.mark.parametrize("window", [16, 48, 4096])
def test_an_epoch_shows_each_example_at_most_once_and_all_but_a_remainder(numbered, cache, window):
    seen = numbers_of(train_dataset(numbered, cache=cache, shuffle_window=window), 9)
    assert len(np.unique(seen)) == 9 * BATCH


@pytest.mark.parametrize("cache", TIERS)
def test_epochs_differ_in_order_and_in_what_they_leave_out(numbered, cache):
    seen = numbers_of(train_dataset(numbered, cache=cache), 18)
    first, second = seen[:9].ravel(), seen[9:].ravel()
    assert (first == second).mean() < 0.1
    assert set(first) != set(second)


@pytest.mark.parametrize("cache", TIERS)
def test_the_order_is_a_function_of_the_seed(numbered, cache):
    one = numbers_of(train_dataset(numbered, cache=cache, seed=5), 12)
    np.testing.assert_array_equal(one, numbers_of(train_dataset(numbered, cache=cache, seed=5), 12))
    assert (one != numbers_of(train_dataset(numbered, cache=cache, seed=6), 12)).mean() > 0.9


@pytest.mark.parametrize("cache", TIERS)
@pytest.mark.parametrize("window", [32, 4096])
@pytest.mark.parametrize("start", [1, 3, 8, 9, 14])
def test_a_dataset_opened_at_any_step_goes_on_exactly_there(numbered, cache, window, start):
    options = {
        "cache": cache,
        "shuffle_window": window,
        "seed": 2,
        "strengths": augmentation.PRESETS["strong"],
    }
    whole = list(itertools.islice(iter(train_dataset(numbered, **options)), start + 12))
    later = itertools.islice(iter(train_dataset(numbered, start_step=start, **options)), 12)
    for expected, got in zip(whole[start:], later, strict=True):
        assert (
            expected.keys()
            == got.keys()
            == {
                "image",
                "label",
                "key",
                "warp",
                "tone",
                "gamma",
                "blur",
                "spectrum",
                "spectrum_key",
            }
        )
        for name in expected:
            np.testing.assert_array_equal(expected[name], got[name])


@pytest.mark.parametrize("cache", TIERS)
def test_batches_have_static_shapes_and_labels_that_belong_to_their_images(numbered, cache):
    dataset = train_dataset(numbered, cache=cache, strengths=augmentation.PRESETS["tutorial"])
    assert dataset.element_spec["image"] == tf.TensorSpec((BATCH, *SIZE, 1), tf.uint8)
    assert dataset.element_spec["label"] == tf.TensorSpec((BATCH,), tf.int64)
    assert dataset.element_spec["warp"] == tf.TensorSpec((BATCH, 9), tf.float32)
    batch = next(iter(dataset))
    numbers = batch["image"].numpy()[:, 0, 0, 0]
    np.testing.assert_array_equal(batch["label"], numbers % 3 > 0)


def test_draws_change_from_epoch_to_epoch_and_step_to_step(numbered):
    dataset = train_dataset(numbered, strengths=augmentation.PRESETS["strong"])
    warps = [batch["warp"].numpy() for batch in itertools.islice(iter(dataset), 10)]
    assert len({warp.tobytes() for warp in warps}) == 10


def test_both_tiers_draw_the_same_augmentation(numbered):
    options = {"strengths": augmentation.PRESETS["strong"], "seed": 4, "start_step": 11}
    one, other = (next(iter(train_dataset(numbered, cache=tier, **options))) for tier in TIERS)
    np.testing.assert_array_equal(one["warp"], other["warp"])
    np.testing.assert_array_equal(one["tone"], other["tone"])


@pytest.mark.parametrize("cache", TIERS)
def test_balanced_sampling_shows_every_class_equally_often(numbered, cache):
    dataset = train_dataset(numbered, sampling="balanced", cache=cache)
    numbers = numbers_of(dataset, 36)
    labels = numbers % 3 > 0
    assert abs(labels.mean() - 0.5) < 0.02
    first_epoch = numbers[:9].ravel()
    rare, common = (first_epoch[(first_epoch % 3 > 0) == value] for value in (False, True))
    assert np.bincount(rare).max() <= 2
    assert np.bincount(common).max() == 1
    assert len(np.unique(numbers)) > 140


def test_balanced_sampling_of_streamed_pngs_is_refused(tmp_path):
    write_shards(tmp_path, {"train": 40}, encoding="png")
    with pytest.raises(UserError, match="class-weights"):
        train_dataset(tmp_path, sampling="balanced", cache="streaming")


def test_both_tiers_give_the_same_batches_of_raw_images(numbered):
    in_memory, streamed = (numbers_of(train_dataset(numbered, cache=tier), 30) for tier in TIERS)
    np.testing.assert_array_equal(in_memory, streamed)


@pytest.mark.parametrize("encoding", ["raw", "png"])
def test_a_damaged_image_is_named(tmp_path, encoding):
    manifest = write_shards(tmp_path, {"train": 40}, encoding=encoding)
    shard = sorted(tmp_path.glob("train*.tfrecord"))[0]
    content = bytearray(shard.read_bytes())
    pixels = {"raw": bytes([2]) * 48, "png": b"IDAT"}[encoding]
    content[content.index(pixels) + 4] ^= 1
    shard.write_bytes(content)
    with pytest.raises(tf.errors.OpError) as raised:
        numbers_of(train_dataset(tmp_path, cache="streaming"), 8)
    damage = StoredSplit(tmp_path, "train", manifest).damage(raised.value)
    assert shard.name in damage and "--repair" in damage
    assert "\n" not in damage


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("cache", TIERS)
@pytest.mark.parametrize("start", [0, 11])
def test_shares_put_together_are_the_whole_batches(tmp_path, encoding, cache, start):
    write_shards(tmp_path, {"train": 70}, encoding=encoding)

    def batches_of(share):
        options = {"cache": cache, "seed": 3, "strengths": augmentation.PRESETS["strong"]}
        options["mixing"] = Mixing(mixup=0.3, cutmix=1.0)
        dataset = training_input(tmp_path, **options).dataset(start, share)
        return [
            {name: value.numpy() for name, value in batch.items()}
            for batch in itertools.islice(iter(dataset), 5 * share.count)
        ]

    whole = batches_of(WHOLE)
    # Two replicas on one worker, one on each of two others.
    parts = [batches_of(Share(first, count, 4)) for first, count in ((0, 2), (2, 1), (3, 1))]
    for step, batch in enumerate(whole):
        own = [*parts[0][2 * step : 2 * step + 2], parts[1][step], parts[2][step]]
        for name, value in batch.items():
            # Vectorized exponentials differ in the last bit with the length of the batch.
            together = np.concatenate([one[name] for one in own])
            np.testing.assert_allclose(together, value, rtol=1e-6)


@pytest.mark.parametrize("encoding", ["raw", "png"])
@pytest.mark.parametrize("cache", TIERS)
def test_the_paths_of_a_batch_are_those_of_its_images(tmp_path, encoding, cache):
    write_shards(tmp_path, {"train": 70}, encoding=encoding)
    split = training_input(tmp_path, cache=cache, seed=5)
    for step in (0, 3, 9):
        (numbers,) = numbers_of(split.dataset(step), 1)
        assert split.paths(step) == [f"{number}.png" for number in numbers]


def test_paths_follow_balanced_orders_too(numbered):
    split = training_input(numbered, sampling="balanced")
    (numbers,) = numbers_of(split.dataset(11), 1)
    assert split.paths(11) == [f"{number}.png" for number in numbers]


def test_a_split_in_memory_is_read_once_however_often_it_is_opened(numbered, monkeypatch):
    """Opened again on a rewind and for a diagnosis, it lay in memory twice, and three times."""
    read = []
    load = StoredSplit.load

    def counted(split, features):
        read.append(features)
        return load(split, features)

    monkeypatch.setattr(StoredSplit, "load", counted)
    split = training_input(numbered, cache="memory")
    first = iter(split.dataset())
    next(first)
    np.testing.assert_array_equal(next(first)["image"], next(iter(split.dataset(1)))["image"])
    split.paths(1)
    split.split.first_images(3)
    assert read == [("image",)]


def test_keys_are_of_64_bits_and_no_two_alike(numbered):
    dataset = train_dataset(numbered, strengths=augmentation.PRESETS["tutorial"])
    keys = [batch["key"].numpy() for batch in itertools.islice(iter(dataset), 18)]
    assert keys[0].dtype == np.uint64
    assert len(np.unique(np.concatenate(keys))) == 18 * BATCH


def test_png_shards_give_the_same_batches_as_raw_ones(tmp_path):
    for encoding in ("raw", "png"):
        write_shards(tmp_path / encoding, {"train": 40}, encoding=encoding)
    raw, png = (numbers_of(train_dataset(tmp_path / e), 4) for e in ("raw", "png"))
    np.testing.assert_array_equal(raw, png)


def test_a_missing_split_names_those_that_are_there(numbered):
    with pytest.raises(UserError, match="train, validation"):
        train_dataset(numbered, split="test")


def test_a_batch_larger_than_the_split_is_refused_with_the_largest_that_fits(numbered):
    with pytest.raises(UserError, match="at most 37"):
        training_input(numbered, split="validation", global_batch_size=64)


@pytest.mark.parametrize("cache", TIERS)
def test_nothing_is_tuned_while_it_runs(numbered, cache):
    """TensorFlow's tuner sleeps up to a minute, and an iterator that goes waits for it to wake."""
    assert not train_dataset(numbered, cache=cache).options().autotune.enabled
    assert not StoredSplit(numbered, "validation").dataset().options().autotune.enabled


@pytest.mark.parametrize("cache", TIERS)
def test_a_split_of_one_shard_is_read_whole(tmp_path, cache):
    write_shards(tmp_path, {"train": 64}, num_shards=1)
    seen = numbers_of(train_dataset(tmp_path, cache=cache), 4)
    assert sorted(seen.ravel()) == list(range(64))


_PEAK_OF_MEMORY_TIER = """
import sys
from pathlib import Path
import tensorflow as tf
from engine.pipeline import datasets

dataset = datasets.training(sys.argv[1], global_batch_size=2, cache="memory")
next(iter(tf.distribute.get_strategy().experimental_distribute_dataset(dataset)))
(peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line]
print(1024 * int(peak.split()[1]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_the_memory_tier_holds_the_split_once(tmp_path):
    side, counts, peaks = 256, (500, 4500), []
    for count in counts:
        shards = tmp_path / str(count)
        shards.mkdir()
        write_shards(
            shards, {"train": count}, draw=lambda n: np.full((side, side, 1), n % 256, np.uint8)
        )
        command = [sys.executable, "-c", _PEAK_OF_MEMORY_TIER, str(shards)]
        peaks.append(int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    grown = (peaks[1] - peaks[0]) / (counts[1] - counts[0])
    assert 0.8 * side**2 < grown < 1.5 * side**2


@pytest.mark.parametrize("cache", TIERS)
@pytest.mark.parametrize("sampling", ["natural", "balanced"])
def test_what_a_teacher_gives_for_an_image_travels_with_it(numbered, cache, sampling):
    batches = training_input(numbered, cache=cache, sampling=sampling)
    numbers = np.arange(150, dtype=np.float32)
    batches.teach(np.stack([-numbers, numbers], axis=1))
    for share in (WHOLE, Share(first=1, count=1, of=2)):
        for batch in batches.dataset(4, share).take(8):
            shown = batch["image"].numpy()[:, 0, 0, 0].astype(np.float32)
            np.testing.assert_array_equal(batch["teacher"], np.stack([-shown, shown], axis=1))
