"""Several seeds are ordinary runs side by side, resumed where they were, with a threshold for their average."""

import dataclasses

import fake_run
import numpy as np
import pytest
from striped_trainings import TINY, comparable, model_weights, stop_after, with_

from engine.base import files
from engine.base.config import UserError
from engine.inference import ensemble as predictors
from engine.metrics import thresholds
from engine.pipeline.reading import StoredSplit
from engine.runs import contract, ensemble
from engine.runs.run_directory import RunDirectory
from engine.training import seed_directory, seeds, trainer

ONE = with_(epochs=1, deterministic=True, seed=3)
STEPS = 6


def seeds_of(shards, workdir, config=ONE, **options):
    return seeds.train_seeds(
        config, shards, workdir, **{"num_seeds": 2, "say": lambda line: None, **options}
    )


@pytest.fixture(scope="module")
def stopped_and_resumed(striped, tmp_path_factory):
    """An ensemble that was stopped in its second run; what it had said at that time and when resumed."""
    workdir, said = tmp_path_factory.mktemp("seeds") / "run", []
    first = seeds_of(striped, workdir, should_stop=stop_after(STEPS + 3), say=said.append)
    listed = ensemble.read(workdir).listed
    begun = len(said)
    result = seeds_of(striped, workdir, resume=True, say=said.append)
    return workdir, first, listed, result, said[begun:]


def test_a_stopped_ensemble_resumes_in_the_run_that_was_stopped(stopped_and_resumed):
    _, first, listed, result, said = stopped_and_resumed
    assert first.stopped and not result.stopped
    assert [member.epochs for member in listed] == [1, None]
    assert "seed-3: trained already" in said
    assert any("resuming after 0 epochs and" in line for line in said)


def test_each_member_is_the_run_of_its_seed(stopped_and_resumed, undisturbed):
    workdir, *_ = stopped_and_resumed
    for seed in (3, 4):
        expected, alone = undisturbed(with_(ONE, seed=seed))
        run = RunDirectory(workdir / f"seed-{seed}")
        for ours, theirs in zip(model_weights(run), model_weights(alone), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert files.read_json(run.config)["seed"] == seed
        assert comparable(expected.history)


def test_the_threshold_is_that_of_the_average_on_validation(stopped_and_resumed, striped):
    workdir, _, _, result, _ = stopped_and_resumed
    run = ensemble.opened(workdir)
    predictor = predictors.load(run)
    held_out = StoredSplit(striped, "validation").load()
    probabilities = predictor.predict(held_out["image"])
    expected = thresholds.choose_threshold(held_out["label"], probabilities, "youden", share=0.5)
    assert predictor.threshold == result.threshold == pytest.approx(expected.threshold)
    found = contract.read(run)
    assert found.model == run.model_digest()
    assert found.calibration.prior == contract.read(run.members[0]).calibration.prior
    report = run.report.read_text(encoding="utf-8")
    assert "seed-3" in report and "the average of" in report.lower()


def test_a_finished_ensemble_is_not_trained_again_and_more_seeds_are_added(
    stopped_and_resumed, striped, tmp_path, monkeypatch
):
    workdir, *_ = stopped_and_resumed
    trained = []

    def train(config, shards, place, **options):
        trained.append(config.seed)
        raise UserError("no more")

    monkeypatch.setattr(trainer, "train", train)
    before = contract.read(ensemble.opened(workdir))
    again = seeds_of(striped, workdir, resume=True)
    assert again.threshold == before.threshold
    assert contract.read(ensemble.opened(workdir)) == before
    assert trained == []
    with pytest.raises(UserError, match="no more"):
        seeds_of(striped, workdir, num_seeds=3, resume=True)
    assert trained == [5]
    # The average of two is not that of three, and has no threshold of its own any more.
    with pytest.raises(UserError, match="seed-5 has not finished an epoch"):
        ensemble.opened(workdir).require_trained()


def fake_training(monkeypatch, class_names):
    """Trainings that leave a run that looks at brightness, shifted by its seed."""

    def train(config, shards, place, **options):
        model = fake_run.brightness_model(len(class_names))
        logits = model.get_layer("logits")
        logits.bias.assign(logits.bias + config.seed / 4)
        fake_run.make_run(place, class_names=class_names, model=model)
        files.write_json(RunDirectory(place).config, config.to_json())
        result = dict.fromkeys(f.name for f in dataclasses.fields(trainer.TrainResult))
        return trainer.TrainResult(**{**result, "stopped": False})

    monkeypatch.setattr(trainer, "train", train)


def test_more_classes_are_averaged_without_a_threshold(tmp_path, monkeypatch):
    names = ("dark", "grey", "light")
    labels = np.arange(30) % 3
    shards = fake_run.make_shards(
        tmp_path / "shards",
        fake_run.grey_images(labels * 100 + 27),
        labels,
        [""] * 30,
        class_names=names,
        split="validation",
    )
    fake_training(monkeypatch, names)
    result = seeds_of(shards, tmp_path / "run", num_seeds=3)
    assert result.threshold is None and result.val_auroc == 1
    assert len(result.member_val_aurocs) == 3
    assert contract.read(ensemble.opened(tmp_path / "run")).model is not None


def test_what_a_teacher_says_is_computed_for_the_first_seed_and_shared(tmp_path, monkeypatch):
    found = []

    def train(config, shards, place, **options):
        run = RunDirectory(place)
        found.append(run.soft_labels.is_file())
        assert run.foreign() == []
        run.path.mkdir(exist_ok=True)
        run.soft_labels.write_bytes(b"what a teacher says")
        raise UserError("no more")

    monkeypatch.setattr(trainer, "train", train)
    for _ in range(2):
        with pytest.raises(UserError, match="no more"):
            seeds_of(tmp_path, tmp_path / "run", resume=True)
        seed_directory.finished(ensemble.opened(tmp_path / "run"), "seed-3", epochs=ONE.epochs)
    assert found == [False, True]
    copy = RunDirectory(tmp_path / "run" / "seed-4").soft_labels
    assert copy.read_bytes() == b"what a teacher says"


def test_overwriting_removes_the_members_and_nothing_else(tmp_path):
    found = seed_directory.prepare(tmp_path, TINY, 3, resume=False, overwrite=False)
    for member in found.members:
        fake_run.make_run(member.path)
    kept = tmp_path / "seed-1" / "notes.txt"
    kept.write_text("mine")
    found.report.write_text("old")
    again = seed_directory.prepare(tmp_path, TINY, 2, resume=False, overwrite=True)
    assert [member.directory for member in again.listed] == ["seed-0", "seed-1"]
    assert kept.read_text() == "mine"
    assert not (tmp_path / "seed-2").exists() and not found.report.exists()
    assert not again.members[0].model.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_seeds": 1}, "got 1, expected 2 or more"),
        ({}, "already holds an ensemble"),
        ({"resume": True, "overwrite": True}, "give one of them"),
        ({"resume": True, "num_seeds": 2}, "seeds can be added at the end, not left out"),
        ({"resume": True, "config": with_(seed=1)}, "was started with --seed 0 --num-seeds 3"),
    ],
)
def test_what_is_no_continuation_is_refused_in_one_line(tmp_path, changes, said):
    seed_directory.prepare(tmp_path, TINY, 3, resume=False, overwrite=False)
    given = {"config": TINY, "num_seeds": 3, "resume": False, "overwrite": False, **changes}
    with pytest.raises(UserError, match=said) as caught:
        seed_directory.check_directory(tmp_path, **given)
    assert "\n" not in str(caught.value)
    seed_directory.check_directory(tmp_path, TINY, 4, resume=True, overwrite=False)


def test_directories_of_others_are_refused(tmp_path):
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        seed_directory.check_directory(tmp_path, TINY, 2, resume=False, overwrite=True)
    RunDirectory(tmp_path).config.write_text("{}")
    with pytest.raises(UserError, match="holds a run of one seed"):
        seed_directory.check_directory(tmp_path, TINY, 2, resume=True, overwrite=False)
