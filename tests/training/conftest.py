"""Runs on the striped shards that several files compare with."""

import shutil

import pytest
from striped_trainings import train

from engine.runs.run_directory import RunDirectory
from engine.training import finishing


@pytest.fixture
def drawn():
    """For a test that looks at the figure of a run."""


@pytest.fixture
def undrawn(request, monkeypatch):
    """The figure, a quarter of so short a training's time, is drawn only where it is looked at."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(
            finishing.history_plot, "draw", lambda rows, path, **options: path.write_bytes(b"")
        )


@pytest.fixture(scope="session")
def undisturbed(striped, tmp_path_factory):
    """The run of a configuration, trained once for all tests that compare with it: (result, run). Read only.

    A training costs 2 s of tracing, whatever its length.
    """
    trained = {}

    def run_of(config):
        if config not in trained:
            run = RunDirectory(tmp_path_factory.mktemp("undisturbed") / "run")
            trained[config] = train(striped, run.path, config), run
        return trained[config]

    return run_of


@pytest.fixture
def copy_of(undisturbed, tmp_path):
    """As `undisturbed`, but the run is a copy in `tmp_path / "run"`, to be changed."""

    def copy(config):
        result, run = undisturbed(config)
        shutil.copytree(run.path, tmp_path / "run")
        return result, RunDirectory(tmp_path / "run")

    return copy
