"""An export's directory is whole or absent, and nothing but an export is ever replaced."""

import json

import pytest

from engine.base.config import UserError
from engine.base.export_settings import ExportConfig
from engine.inference.export import export_directory
from engine.runs.run_directory import RunDirectory


def made(place, *others):
    """A directory with an export, and with files that are none of it."""
    for name in ("model.onnx", "assets/words.txt", "__pycache__/classifier.pyc", *others):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x")
    known = {"format": "onnx", "files": ["assets/words.txt", "model.onnx"]}
    (place / "metadata.json").write_text(json.dumps(known))
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
    assert (place / "model.onnx").read_text() == "x"


def test_what_ends_well_takes_its_place(tmp_path):
    place = made(tmp_path / "out")
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
        export_directory.require_free(made(tmp_path / "more", "thesis"), overwrite=True)
    other = tmp_path / "foreign"
    other.mkdir()
    (other / "metadata.json").write_text('{"format": "of something else"}')
    with pytest.raises(UserError, match="holds other files"):
        export_directory.require_free(other, overwrite=True)


@pytest.mark.parametrize("name", ["assets/patients.csv", "assets/more/a.csv", "__pycache__/notes"])
def test_a_foreign_file_inside_of_an_export_is_kept(tmp_path, name):
    place = made(tmp_path / "out", name)
    with pytest.raises(UserError, match="holds other files"):
        export_directory.require_free(place, overwrite=True)


@pytest.mark.parametrize(
    "text", ["{}", "[]", "3", "{", '{"format": ["onnx"]}', '{"format": "onnx"}']
)
def test_any_metadata_is_read_without_a_traceback(tmp_path, text):
    place = made(tmp_path / "out")
    (place / "metadata.json").write_text(text)
    with pytest.raises(UserError, match="holds other files"):
        export_directory.require_free(place, overwrite=True)


def test_folders_of_similar_names_are_left_alone(tmp_path):
    place, others = made(tmp_path / "out"), [tmp_path / "out.partial", tmp_path / "out.former"]
    for other in others:
        other.mkdir()
        (other / "thesis.txt").write_text("mine")
    for overwrite in (True, False):
        with export_directory.written_aside(place, overwrite=overwrite) as aside:
            assert not aside.name.isdigit()  # TensorFlow Serving would load it
        place.rmdir()
    assert all((other / "thesis.txt").read_text() == "mine" for other in others)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_two_at_a_time_do_not_share_what_is_aside(tmp_path):
    place = tmp_path / "out"
    with export_directory.written_aside(place, overwrite=True) as first:
        (first / "model.onnx").write_text("first")
        with export_directory.written_aside(place, overwrite=True) as second:
            assert not list(second.iterdir())
    assert (place / "model.onnx").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
