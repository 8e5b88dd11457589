"""Images unlike the training images get a distance above 1, about 1 % of those like them too."""

import numpy as np
import pytest

from engine.base.config import UserError
from engine.inference import applicability
from engine.inference.applicability import Applicability
from engine.runs.run_directory import RunDirectory


def features(random, count, *, shift=0.0, scale=1.0):
    """A wide group, a group in two clusters, and one that does not vary."""
    clusters = random.choice([-4.0, 4.0], (count, 1)) + random.normal(size=(count, 6))
    return {
        "wide": scale * random.normal(size=(count, 150)) + shift,
        "clusters": scale * clusters + shift,
        "constant": np.full((count, 3), 7.0),
    }


@pytest.fixture(scope="module")
def fitted():
    random = np.random.default_rng(0)
    return Applicability.fit(features(random, 800), features(random, 400))


def test_about_one_like_image_in_a_hundred_is_flagged(fitted):
    like = features(np.random.default_rng(1), 4000)
    share = (fitted.distances(like) > 1).mean()
    assert 0.003 < share < 0.03


def test_images_elsewhere_or_between_clusters_are_flagged(fitted):
    random = np.random.default_rng(2)
    assert (fitted.distances(features(random, 100, shift=6.0)) > 1).all()
    assert (fitted.distances(features(random, 100, scale=4.0)) > 1).mean() > 0.95
    between = {**features(random, 50), "clusters": np.zeros((50, 6))}
    near = features(random, 50)
    assert np.median(fitted.distances(between)) > np.median(fitted.distances(near))


def test_a_feature_that_never_varied_tells_an_image_apart(fitted):
    like = features(np.random.default_rng(3), 20)
    assert (fitted.distances({**like, "constant": np.full((20, 3), 107.0)}) > 1).all()


def test_what_is_not_finite_is_far_away_and_a_number(fitted):
    found = fitted.distances(
        {**features(np.random.default_rng(4), 2), "wide": np.full((2, 150), np.nan)}
    )
    assert np.isfinite(found).all() and (found > 1).all()


def test_no_image_has_no_distance(fitted):
    assert fitted.distances(features(np.random.default_rng(5), 0)).shape == (0,)


@pytest.mark.parametrize("count", [1, 2, 30])
def test_few_images_are_enough_to_learn_from(count):
    random = np.random.default_rng(6)
    fitted = Applicability.fit(features(random, count), features(random, count))
    assert np.isfinite(fitted.limit) and fitted.limit > 0
    assert (fitted.distances(features(random, 5, shift=1e3)) > 1).all()


def test_a_group_that_repeats_another_counts_once():
    random = np.random.default_rng(7)
    wide = random.normal(size=(50, 8))
    again = wide * (1 + 0.004 * random.choice([-1, 1], wide.shape))
    found = {"wide": wide, "again": again, "other": random.normal(size=(50, 8))}
    assert list(Applicability.fit(found, found).groups) == ["wide", "other"]


@pytest.mark.parametrize("count", [120, 1000])
def test_the_tail_gives_the_quantile_of_a_distribution_like_it(count):
    quantiles = [
        applicability.tail_quantile(np.exp(np.random.default_rng(seed).exponential(size=count)))
        for seed in range(40)
    ]
    assert np.log(np.median(quantiles)) == pytest.approx(np.log(100), rel=0.1)


def test_it_is_stored_with_a_run_and_belongs_to_one_model(tmp_path, fitted, capsys):
    run = RunDirectory(tmp_path)
    assert applicability.read(run) is None
    applicability.say_absent(run)
    said = capsys.readouterr().err.splitlines()
    assert "applicability.npz is missing" in said[0]
    assert max(len(line) for line in said if str(run.path) not in line) <= 80
    run.model.write_bytes(b"one model")
    applicability.write(run, fitted)
    like = features(np.random.default_rng(8), 20)
    np.testing.assert_array_equal(applicability.read(run).distances(like), fitted.distances(like))
    run.model.write_bytes(b"another model")
    assert applicability.read(run) is None
    with pytest.raises(UserError, match=r"--abstain: .*belongs to another model"):
        applicability.require(run)


def test_a_damaged_file_counts_as_none(tmp_path, fitted):
    run = RunDirectory(tmp_path)
    run.model.write_bytes(b"one model")
    applicability.write(run, fitted)
    content = bytearray(run.applicability.read_bytes())
    content[len(content) // 2] ^= 1
    run.applicability.write_bytes(content)
    assert applicability.read(run) is None
