import errno
import json
from pathlib import Path

import pytest

from engine.base import files


def names(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_takes_its_name_only_when_the_block_ends(tmp_path) -> None:
    path = tmp_path / "new" / "model.keras"
    with files.written_aside(path) as aside:
        aside.write_bytes(b"whole")
        assert not path.exists()
        assert aside.parent == path.parent  # rename is atomic within one directory only
        assert aside.suffix == ".keras"
    assert path.read_bytes() == b"whole"
    assert names(path.parent) == ["model.keras"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_all_as_it_was(tmp_path, error) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, 1)

    def half_write() -> None:
        with files.written_aside(path) as aside:
            aside.write_text("half")
            raise error

    with pytest.raises(error):
        half_write()
    assert files.read_json(path) == 1
    assert names(tmp_path) == ["a.json"]


def test_what_a_killed_writer_left_aside_is_in_nobodys_way(tmp_path) -> None:
    path = tmp_path / "a.json"
    (tmp_path / "a.partial.json").write_text("left by a kill")
    files.write_json(path, {"whole": True})
    assert files.read_json(path) == {"whole": True}
    assert names(tmp_path) == ["a.json"]


@pytest.mark.parametrize("target_exists", [True, False])
def test_a_planted_link_is_not_followed(tmp_path, target_exists) -> None:
    target = tmp_path / "elsewhere"
    if target_exists:
        target.write_text("kept")
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a.partial.json").symlink_to(target)
    files.write_json(tmp_path / "dir" / "a.json", 1)
    assert names(tmp_path / "dir") == ["a.json"]
    assert not (tmp_path / "dir" / "a.json").is_symlink()
    assert target.read_text() == "kept" if target_exists else not target.exists()


def test_appending_adds_and_does_not_follow_a_link(tmp_path) -> None:
    for part in (b"one", b"two"):
        files.append(tmp_path / "log", part)
    assert (tmp_path / "log").read_bytes() == b"onetwo"
    (tmp_path / "link").symlink_to(tmp_path / "log")
    with pytest.raises(OSError):
        files.append(tmp_path / "link", b"three")
    assert (tmp_path / "log").read_bytes() == b"onetwo"


def test_json_round_trip_keeps_text_of_all_tongues(tmp_path) -> None:
    value = {"name": "Röntgenbild 胸部", "values": [1, 2.5, None, True]}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text.endswith("}\n") and "胸部" in text


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, 1)
    with pytest.raises(TypeError):
        files.write_json(path, object())
    assert files.read_json(path) == 1


def test_reading_raises_what_open_and_json_raise(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        files.read_json(tmp_path / "absent.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(json.JSONDecodeError):
        files.read_json(tmp_path / "bad.json")


def test_syncing_a_directory_that_cannot_be_opened_is_no_error(tmp_path) -> None:
    files.sync_directory(tmp_path)
    files.sync_directory(tmp_path / "absent")


def test_errors_of_writing_name_the_file(tmp_path):
    """`write` names none: the kernel knows a descriptor, not a path."""

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "model.keras"
    with pytest.raises(OSError, match="No space left") as caught, files.written_aside(path):
        full()
    assert caught.value.filename == str(path)
    with pytest.raises(OSError, match="No space left") as caught, files.errors_named(path):
        Path("/dev/full").write_text("a line\n")
    assert caught.value.filename == str(path)
