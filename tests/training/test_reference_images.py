"""A finished training remembers its images; a resume adds what is missing, and nothing else changes."""

import numpy as np
import pytest
from striped_trainings import TINY, train, with_

from engine.inference import applicability
from engine.inference.predictor import Predictor
from engine.pipeline.reading import StoredSplit
from engine.runs.run_directory import RunDirectory

REMEMBERING = with_(TINY, epochs=1, reference_images=60)


@pytest.fixture(scope="module")
def run(striped, tmp_path_factory):
    directory = tmp_path_factory.mktemp("remembering") / "run"
    train(striped, directory, REMEMBERING)
    return RunDirectory(directory)


def test_a_run_tells_its_own_images_from_others(run, striped):
    predictor = Predictor.load(run.path, batch_size=32)
    assert {len(group.reference) for group in predictor.applicability.groups.values()} == {60}
    own = StoredSplit(striped, "train").first_images(60)
    others = np.random.default_rng(0).integers(0, 256, own.shape, np.uint8)

    def flagged(images):
        return (predictor.outputs(images, with_distances=True).distances > 1).mean()

    assert flagged(own) < 0.1 and flagged(others) > 0.9


def test_a_resume_writes_what_is_missing_or_of_another_model_and_leaves_the_rest(run, striped):
    model, content = run.model_digest(), run.applicability.read_bytes()
    train(striped, run.path, REMEMBERING, resume=True)
    assert run.applicability.read_bytes() == content
    run.applicability.unlink()
    train(striped, run.path, REMEMBERING, resume=True)
    assert run.applicability.read_bytes() == content and run.model_digest() == model


def test_without_reference_images_nothing_is_remembered(striped, undisturbed):
    _, run = undisturbed(TINY)
    assert not run.applicability.exists() and applicability.read(run) is None


def test_a_model_that_cannot_be_loaded_is_said_and_stops_nothing(run, striped, tmp_path):
    from engine.training import reference_images

    broken, lines = RunDirectory(tmp_path), []
    broken.model.write_bytes(b"nonsense")
    split = StoredSplit(striped, "train")
    reference_images.remember(broken, split, split.first_images(4), count=4, say=lines.append)
    assert len(lines) == 1 and "cannot be measured" in lines[0]
    assert not broken.applicability.exists()
