"""Near copies have near hashes, mirrored ones too; the search finds what comparing pair by pair finds."""

import itertools

import inspected_images
import numpy as np
import pytest
from PIL import Image, ImageOps

from engine.base.inspect_settings import NEAR_DISTANCE
from engine.inspection import perceptual_hash
from engine.inspection.perceptual_hash import distance, find_pairs, hash_of


def hashed(image):
    return hash_of(np.asarray(image.convert("L").resize((128, 128), Image.Resampling.BILINEAR)))


@pytest.mark.parametrize(
    "alter",
    [
        lambda image: inspected_images.reencoded(image, 20),
        lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX),
        lambda image: image.point(lambda value: int(min(255, value * 1.1))),
        lambda image: image.resize((image.width * 2, image.height * 3), Image.Resampling.BICUBIC),
    ],
    ids=["JPEG of quality 20", "half the size", "lighter", "stretched"],
)
def test_altered_copies_are_near_and_other_images_are_not(alter):
    images = [inspected_images.smooth(seed, (256, 192)) for seed in range(12)]
    for image in images:
        assert distance(hashed(image), hashed(alter(image))) <= NEAR_DISTANCE
    for one, other in itertools.combinations(images, 2):
        assert distance(hashed(one), hashed(other)) > 2 * NEAR_DISTANCE


def test_a_mirrored_copy_is_found_and_said_to_be_mirrored():
    images = [inspected_images.smooth(seed) for seed in range(5)]
    hashes = np.array([hashed(image) for image in [*images, ImageOps.mirror(images[2])]])
    (pair,) = find_pairs(hashes, NEAR_DISTANCE).pairs
    assert (pair.first, pair.second, pair.is_mirrored) == (2, 5, True)
    assert distance(hashes[2], hashes[5]) > NEAR_DISTANCE >= pair.distance


@pytest.mark.parametrize("within", [0, 90, 110])
def test_all_pairs_in_blocks_are_those_of_comparing_one_by_one(monkeypatch, within):
    monkeypatch.setattr(perceptual_hash, "ROWS", 7)
    monkeypatch.setattr(perceptual_hash, "COLUMNS", 11)
    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (60, 32), np.uint8)
    hashes[:, 0] &= 0x7F  # the mean's bit
    hashes[41] = hashes[3]
    told = []
    found = find_pairs(hashes, within, advance=told.append)
    mirrors = [mirrored(one) for one in hashes]
    expected = {}
    for i, j in itertools.combinations(range(60), 2):
        expected[i, j] = min(distance(hashes[i], hashes[j]), distance(hashes[i], mirrors[j]))
    assert {(pair.first, pair.second): pair.distance for pair in found.pairs} == {
        pair: least for pair, least in expected.items() if least <= within
    }
    assert sum(told) == 60 and found.compared == 60 * 59 // 2
    assert [pair.distance for pair in found.pairs] == sorted(pair.distance for pair in found.pairs)


def mirrored(one):
    """The hash of the mirror image, bit by bit."""
    bits = np.unpackbits(one).reshape(16, 16).copy()
    bits[:, 1::2] ^= 1
    return np.packbits(bits)


def test_the_hash_of_the_mirror_image_turns_horizontally_odd_waves():
    image = np.random.default_rng(1).normal(128, 40, (64, 64))
    assert distance(mirrored(hash_of(image)), hash_of(image[:, ::-1])) == 0


def test_a_set_of_copies_alone_is_cut_short(monkeypatch):
    monkeypatch.setattr(perceptual_hash, "MOST_PAIRS", 10)
    found = find_pairs(np.zeros((40, 32), np.uint8), 3)
    assert found.is_cut and len(found.pairs) == 10


def test_pairs_expected_by_chance_agree_with_those_that_random_hashes_have():
    random = np.random.default_rng(0)
    hashes = random.integers(0, 256, (2000, 32), np.uint8)
    hashes[:, 0] &= 0x7F
    found = find_pairs(hashes, 96)
    assert found.median == pytest.approx(127.5, abs=0.5)
    # 96 bits are about 4 standard deviations below: some hundred of 4 million pairs.
    assert found.by_chance == pytest.approx(len(found.pairs), rel=0.35)
    assert len(found.pairs) > 50


def test_few_images_tell_nothing_of_chance():
    found = find_pairs(np.zeros((2, 32), np.uint8), 0)
    assert (found.median, found.by_chance) == (None, None)
    assert find_pairs(np.zeros((0, 32), np.uint8), 0).pairs == ()
