"""Several runs give the mean of their log-odds, in every class, and say how far they lie apart."""

import fake_run
import numpy as np
import pytest
from scipy import special

from engine.base import files
from engine.base.config import UserError
from engine.inference import ensemble, explanation
from engine.inference.grad_cam import GradCam
from engine.inference.predictor import Outputs, Predictor
from engine.metrics.temperature import Calibration
from engine.runs import contract
from engine.runs import ensemble as runs

IMAGES = fake_run.grey_images(np.arange(17) * 15)


def make_member(directory, *, shift, class_names=fake_run.CLASS_NAMES, threshold=0.5, **options):
    """A run whose logits are shifted."""
    model = fake_run.brightness_model(len(class_names))
    logits = model.get_layer("logits")
    logits.bias.assign(logits.bias + np.asarray(shift, np.float32))
    return fake_run.make_run(
        directory, class_names=class_names, model=model, threshold=threshold, **options
    )


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    directory = tmp_path_factory.mktemp("members")
    return [
        make_member(directory / f"seed-{number}", shift=[shift], threshold=threshold)
        for number, (shift, threshold) in enumerate([(0, 0.5), (-1.5, 0.2), (0.6, 0.65)])
    ]


def test_log_odds_are_the_mean_of_the_members_and_probabilities_theirs(members):
    together = ensemble.load(runs.opened(members), batch_size=8)
    found = together.outputs(IMAGES)
    each = [Predictor.load(path, batch_size=8).outputs(IMAGES) for path in members]
    np.testing.assert_allclose(found.log_odds, np.mean([o.log_odds for o in each], axis=0))
    np.testing.assert_allclose(found.probabilities, special.expit(found.log_odds))
    np.testing.assert_allclose(found.spread, np.std([o.probabilities for o in each], axis=0))
    assert [len(member.probabilities) for member in found.members] == [17] * 3
    assert each[0].spread is None


def test_an_image_is_positive_where_members_are_above_their_thresholds_on_average(members):
    together = ensemble.load(runs.opened(members), batch_size=8)
    outputs = together.outputs(IMAGES)
    margins = [
        Predictor.load(path, batch_size=8).outputs(IMAGES).log_odds - special.logit(threshold)
        for path, threshold in zip(members, (0.5, 0.2, 0.65), strict=True)
    ]
    expected = np.mean(margins, axis=0) >= 0
    np.testing.assert_array_equal(together.predicted_labels(outputs.probabilities), expected)
    assert 0 < expected.sum() < len(expected)


def test_calibrated_members_are_averaged_and_a_prevalence_is_added_once(tmp_path):
    paths = [
        make_member(
            tmp_path / str(number), shift=[shift], calibration=Calibration(2.0, prior=(0.5, 0.5))
        )
        for number, shift in enumerate((0, -1))
    ]
    each = [Predictor.load(path, batch_size=8).outputs(IMAGES).log_odds for path in paths]
    plain = ensemble.load(runs.opened(paths), batch_size=8)
    found = plain.outputs(IMAGES)
    np.testing.assert_allclose(found.log_odds, np.mean(each, axis=0))
    rarer = ensemble.load(runs.opened(paths), batch_size=8, prevalence="0.1")
    shifted = rarer.outputs(IMAGES)
    np.testing.assert_allclose(shifted.log_odds, found.log_odds + np.log(0.1 / 0.9))
    np.testing.assert_array_equal(
        rarer.predicted_labels(shifted.probabilities), plain.predicted_labels(found.probabilities)
    )


def calibrated(directory, *, shift=0.0, temperature=2.0, prior=(0.5, 0.5), threshold=0.5):
    return make_member(
        directory, shift=[shift], threshold=threshold, calibration=Calibration(temperature, prior)
    )


def test_members_of_other_priors_are_brought_to_equal_shares_and_decide_as_before(tmp_path):
    priors, cuts = [(0.5, 0.5), (0.8, 0.2)], (0.5, 0.2)
    paths = [
        calibrated(tmp_path / str(n), shift=-n, prior=prior, threshold=cut)
        for n, (prior, cut) in enumerate(zip(priors, cuts, strict=True))
    ]
    each = [Predictor.load(path, batch_size=8).outputs(IMAGES).log_odds for path in paths]
    together = ensemble.load(runs.opened(paths), batch_size=8)
    found = together.outputs(IMAGES)
    shifts = [-special.logit(prior[1]) for prior in priors]
    equal = [own + shift for own, shift in zip(each, shifts, strict=True)]
    np.testing.assert_allclose(found.log_odds, np.mean(equal, axis=0))
    margins = [own - special.logit(cut) for own, cut in zip(each, cuts, strict=True)]
    np.testing.assert_array_equal(
        together.predicted_labels(found.probabilities), np.mean(margins, axis=0) >= 0
    )
    rarer = ensemble.load(runs.opened(paths), batch_size=8, prevalence="0.1").outputs(IMAGES)
    np.testing.assert_allclose(rarer.log_odds, found.log_odds + special.logit(0.1))


def test_runs_of_which_only_some_are_calibrated_or_know_their_prior_are_refused(tmp_path):
    known, bare = calibrated(tmp_path / "known"), make_member(tmp_path / "bare", shift=[0])
    with pytest.raises(UserError, match=r"bare: its probabilities are not calibrated.*known are"):
        ensemble.load(runs.opened([known, bare]))
    vague = calibrated(tmp_path / "vague", prior=None)
    with pytest.raises(UserError, match=r"vague: does not say which share.*known does"):
        ensemble.load(runs.opened([known, vague]))
    with pytest.raises(UserError, match=r"--prevalence: .*of several that are averaged, on each"):
        ensemble.load(
            runs.opened([vague, calibrated(tmp_path / "b", prior=None)]), prevalence="0.1"
        )


def test_thresholds_and_calibrations_of_earlier_models_decide_nothing_in_a_group(tmp_path):
    paths = [calibrated(tmp_path / str(n), threshold=0.9) for n in range(2)]
    other = make_member(tmp_path / "other", shift=[1])
    for path in paths:
        (path / "model.keras").write_bytes((other / "model.keras").read_bytes())
    group = runs.opened(paths)
    for found in (contract.read(group), contract.stored(group)):
        assert (found.threshold, found.calibration, found.model) == (None, None, None)
    assert ensemble.load(group, batch_size=8).threshold == 0.5


def test_the_spread_is_on_the_scale_of_the_probability(tmp_path):
    """With a temperature of the ensemble's own, and a prevalence."""
    for n in range(2):
        calibrated(tmp_path / f"seed-{n}", shift=n)
    run = runs.EnsembleDirectory(tmp_path, [runs.Member(f"seed-{n}", seed=n) for n in range(2)])
    runs.write(run)
    known = contract.stored(run.members[0])
    contract.begin(run, known)
    contract.complete(
        run, threshold=0.5, threshold_rule="f1", calibration=Calibration(4.0, (0.5, 0.5))
    )
    found = ensemble.load(run, batch_size=8, prevalence="0.1").outputs(IMAGES)
    own = [Predictor.load(member.path, batch_size=8).outputs(IMAGES) for member in run.members]
    brought = [special.expit(each.log_odds / 4 + special.logit(0.1)) for each in own]
    np.testing.assert_allclose(found.spread, np.std(brought, axis=0))
    np.testing.assert_array_equal(found.members[1].log_odds, own[1].log_odds)
    assert np.all(found.probabilities >= np.min(brought, axis=0))
    assert np.all(found.probabilities <= np.max(brought, axis=0))


def test_of_more_classes_log_probabilities_are_averaged_and_sum_to_one(tmp_path):
    names = ("dark", "grey", "light")
    paths = [
        make_member(tmp_path / str(number), shift=shift, class_names=names)
        for number, shift in enumerate([(0, 0, 0), (1, -2, 3)])
    ]
    found = ensemble.load(runs.opened(paths)).outputs(IMAGES)
    each = [Predictor.load(path).outputs(IMAGES).probabilities for path in paths]
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    product = np.sqrt(each[0] * each[1])
    expected = product / product.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    np.testing.assert_allclose(special.expit(found.log_odds), found.probabilities, atol=1e-6)
    assert found.spread.shape == (17, 3)


def test_one_run_twice_gives_what_it_gives(tmp_path):
    path = make_member(tmp_path / "a", shift=[0.3])
    alone = Predictor.load(path).outputs(IMAGES)
    twice = ensemble.averaged([alone, alone])
    np.testing.assert_allclose(twice.log_odds, alone.log_odds)
    np.testing.assert_allclose(twice.probabilities, alone.probabilities, atol=1e-6)
    assert twice.spread.max() == 0


def test_batches_are_joined_with_their_members():
    parts = [
        Outputs(
            np.full(2, p), np.full(2, p), (Outputs(np.ones(2), np.ones(2)),), spread=np.full(2, p)
        )
        for p in (0.1, 0.9)
    ]
    joined = Outputs.joined(parts)
    np.testing.assert_array_equal(joined.probabilities, [0.1, 0.1, 0.9, 0.9])
    assert len(joined.members) == 1 and joined.members[0].log_odds.shape == (4,)
    np.testing.assert_array_equal(joined.spread, joined.probabilities)


def test_no_image_gives_no_output(members):
    found = ensemble.load(runs.opened(members)).outputs(IMAGES[:0])
    assert found.probabilities.shape == found.spread.shape == (0,)


def test_images_of_another_shape_are_refused(members):
    with pytest.raises(UserError, match="expects uint8 images"):
        ensemble.load(runs.opened(members)).predict(np.zeros((1, 8, 8, 1), np.uint8))


def test_runs_that_do_not_agree_are_refused_in_one_line(tmp_path, members):
    other = fake_run.make_run(tmp_path / "other", class_names=("cat", "dog"))
    with pytest.raises(UserError, match=r"other: its class names are .*cat.*must agree") as caught:
        ensemble.load(runs.opened([members[0], other]))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="given twice"):
        runs.opened([members[0], members[1], members[0]])
    with pytest.raises(UserError, match="absent: no such run directory"):
        ensemble.load(runs.opened([members[0], tmp_path / "absent"]))


def test_the_evidence_of_an_ensemble_is_the_mean_of_its_members(members):
    together = ensemble.load(runs.opened(members[:2]), batch_size=8)
    classes = np.ones(17, int)
    each = [GradCam(member.model)(IMAGES, classes) for member in together.members]
    found = explanation.of_predictor(together)(IMAGES, classes)
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)


def test_an_ensemble_on_disk_is_loaded_with_the_threshold_of_its_own(tmp_path):
    for number in range(2):
        make_member(tmp_path / f"seed-{number}", shift=[number])
    listed = runs.EnsembleDirectory(
        tmp_path, [runs.Member(f"seed-{number}", seed=number) for number in range(2)]
    )
    runs.write(listed)
    run = runs.opened(tmp_path)
    assert ensemble.load(run).threshold == 0.5  # the mean of the members'
    values = {**files.read_json(tmp_path / "seed-0" / "inference.json"), "threshold": 0.3}
    files.write_json(run.inference, {**values, "model": run.model_digest()})
    assert ensemble.load(run).threshold == 0.3
    # Of other members' models it is not: their own thresholds decide again.
    make_member(tmp_path / "seed-1", shift=[-1])
    assert ensemble.load(run).threshold == 0.5
