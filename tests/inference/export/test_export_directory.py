"""An export's directory is whole or absent, and nothing but an export is ever replaced."""

import json

import pytest

from engine.base.config import UserError
from engine.base.export_settings import ExportConfig
from engine.inference.export import export_directory
from engine.runs.run_directory import RunDirectory


def made(place, **others):
    place.mkdir(parents=True)
    (place / "metadata.json").write_text(json.dumps({"format": "onnx"}))
    for name in others:
        (place / name).write_text("x")
    return place


def test_places_are_by_format_and_version(tmp_path):
    run = RunDirectory(tmp_path / "chest")
    place = export_directory.place_of(run, ExportConfig(format="litert", quantize="int8"), None)
    assert place == run.path / "exports" / "litert-int8"
    settings = ExportConfig(version=3)
    assert export_directory.place_of(run, settings, tmp_path) == tmp_path / "chest" / "3"


def test_what_fails_leaves_the_earlier_export(tmp_path):
    place = made(tmp_path / "out")
    with (
        pytest.raises(RuntimeError),
        export_directory.written_aside(place, overwrite=True) as aside,
    ):
        (aside / "model.onnx").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert [path.name for path in place.iterdir()] == ["metadata.json"]


def test_what_ends_well_takes_its_place(tmp_path):
    place = made(tmp_path / "out")
    (tmp_path / "out.partial").mkdir()  # left by a process that was killed
    with export_directory.written_aside(place, overwrite=True) as aside:
        assert not list(aside.iterdir())
        (aside / "model.onnx").write_text("whole")
    assert [path.name for path in place.iterdir()] == ["model.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_exports_are_replaced(tmp_path):
    export_directory.require_free(tmp_path / "new", overwrite=False)
    with pytest.raises(UserError, match="--overwrite"):
        export_directory.require_free(made(tmp_path / "earlier"), overwrite=False)
    with pytest.raises(UserError, match="holds other files"):
        export_directory.require_free(made(tmp_path / "more", thesis=1), overwrite=True)
    other = tmp_path / "foreign"
    other.mkdir()
    (other / "metadata.json").write_text('{"format": "of something else"}')
    with pytest.raises(UserError, match="holds other files"):
        export_directory.require_free(other, overwrite=True)
