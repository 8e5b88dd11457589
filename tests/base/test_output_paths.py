"""What can be written to is told from what cannot, without writing anything."""

from pathlib import Path

import other_user
import pytest

from engine.base import output_paths
from engine.base.config import UserError


def test_a_directory_that_is_there_or_can_be_made_is_taken(tmp_path):
    output_paths.require_directory(tmp_path, "--output")
    output_paths.require_directory(tmp_path / "a" / "b", "--output")
    output_paths.require_file(tmp_path / "a" / "b.png", "--output")
    (tmp_path / "b.png").write_text("earlier")
    output_paths.require_file(tmp_path / "b.png", "--output")
    assert [path.name for path in tmp_path.iterdir()] == ["b.png"]


def test_relative_paths_start_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in (".", "a", "a/b"):
        output_paths.require_directory(type(tmp_path)(path), "--output")


def test_a_file_in_the_way_is_named(tmp_path):
    file = tmp_path / "file"
    file.write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for path, said in (
        (file, f"--output {file}: it is a file; expected a directory"),
        (file / "a" / "b", f"--output {file / 'a' / 'b'}: {file} is a file; expected a directory"),
    ):
        with pytest.raises(UserError) as caught:
            output_paths.require_directory(path, "--output")
        assert str(caught.value) == said
    with pytest.raises(UserError, match="it is a link that leads nowhere; expected"):
        output_paths.require_directory(tmp_path / "link", "--output")
    with pytest.raises(UserError, match="it is a directory; expected the path of a file"):
        output_paths.require_file(tmp_path, "--output")
    with pytest.raises(UserError, match="is a file; expected a directory"):
        output_paths.require_file(file / "x.png", "--output")


def test_a_directory_that_may_not_be_written_to_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o755)
    done = other_user.run(
        "from pathlib import Path\nfrom engine.base import output_paths\n"
        "output_paths.require_directory(Path('closed/new'), '--output')\n",
        tmp_path,
    )
    assert "UserError: --output closed/new: closed: Permission denied; change" in done.stderr


def test_only_text_is_replaced(tmp_path):
    """A glob may put an image in the place of a file of results."""
    (tmp_path / "old.csv").write_text("path,probability\n")
    (tmp_path / "empty").touch()
    (tmp_path / "image").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    for name in ("new.csv", "old.csv", "empty"):
        output_paths.require_text_file(tmp_path / name, "--output")
    with pytest.raises(UserError, match="holds no text, such as an image"):
        output_paths.require_text_file(tmp_path / "image", "--output")
    with pytest.raises(UserError, match="no regular file"):
        output_paths.require_text_file(Path("/dev/null"), "--output")
    with pytest.raises(UserError, match="is a directory"):
        output_paths.require_text_file(tmp_path, "--output")


def test_what_is_read_is_not_replaced(tmp_path):
    listed = tmp_path / "list"
    listed.write_text("a.png\n")
    (tmp_path / "link").symlink_to(listed)
    inputs = [str(tmp_path), str(tmp_path / "absent"), "nul\0", listed]
    for path in (listed, tmp_path / "link", tmp_path / "." / "list"):
        with pytest.raises(UserError, match=r"--output .* is among what is read"):
            output_paths.require_other(path, inputs, "--output")
    for path in (tmp_path / "absent", tmp_path / "new"):  # nothing is there to be replaced
        output_paths.require_other(path, inputs, "--output")


def test_what_a_run_keeps_is_not_replaced(tmp_path):
    run = tmp_path / "run"
    (run / "evaluation").mkdir(parents=True)
    (tmp_path / "link").symlink_to(run)
    owned = [run / "config.json", run / "evaluation"]  # of which one is absent
    for path in ("run/config.json", "link/config.json", "run/evaluation/test/a.csv"):
        with pytest.raises(UserError, match=f"is part of {run}, which has to stay"):
            output_paths.require_unowned(tmp_path / path, owned, "--output", run)
    for path in ("config.json", "run/results.csv", "run/evaluation.csv"):
        output_paths.require_unowned(tmp_path / path, owned, "--output", run)


def test_a_directory_that_holds_what_is_read_is_refused_through_links_too(tmp_path):
    for name in ("read", "elsewhere"):
        (tmp_path / name).mkdir()
    image = tmp_path / "read" / "a.png"
    image.touch()
    (tmp_path / "elsewhere" / "b.png").symlink_to(image)
    (tmp_path / "alias").symlink_to(tmp_path / "read")
    output_paths.require_holds_none(tmp_path / "new", [image], "--output")
    output_paths.require_holds_none(tmp_path, [image], "--output")
    for directory, read in [
        ("read", image),
        ("alias", image),
        ("read", tmp_path / "elsewhere" / "b.png"),
        ("elsewhere", tmp_path / "elsewhere" / "b.png"),
    ]:
        with pytest.raises(UserError, match="is read and could be replaced"):
            output_paths.require_holds_none(tmp_path / directory, [read], "--output")
