"""`python -m engine` and `tfdata-engine`: every command in one line, found and run by name."""

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

from engine import __main__ as overview

ROOT = Path(__file__).resolve().parents[2]


def test_every_command_has_a_line_of_its_own(capsys):
    assert overview.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert listed == list(overview.COMMANDS)
    own = {path.stem for path in (ROOT / "engine").glob("[a-z]*.py")} - {"api"}
    assert own | {"phantoms", "search", "benchmarks"} == set(listed)
    assert all(len(line.split()) > 3 for line in lines if line.startswith("  "))


def test_a_command_is_run_with_its_arguments_under_either_spelling(capsys):
    for name in ("build_tfrecords", "build-tfrecords"):
        with pytest.raises(SystemExit) as stop:
            overview.main([name, "--help"])
        assert stop.value.code == 0
        assert capsys.readouterr().out.startswith("usage: python -m engine.build_tfrecords IMAGES")
    with pytest.raises(SystemExit) as stop:
        overview.main(["search", "shards", "--tunr", "random"])
    assert stop.value.code == 2
    assert "did you mean --tuner?" in capsys.readouterr().err


def test_a_mistyped_command_is_one_line(capsys):
    assert overview.main(["trian", "shards"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "python -m engine: error: no command is called 'trian'; did you mean 'train'?\n"
    )


def test_commands_of_packages_that_are_not_installed_are_left_out(capsys, monkeypatch):
    monkeypatch.setitem(overview.COMMANDS, "search", "absent_package.search")
    assert overview.main(["--help"]) == 0
    assert " search " not in capsys.readouterr().out
    assert overview.main(["search"]) == 2
    assert "no command is called 'search'" in capsys.readouterr().err


def test_the_console_script_is_this_program(capsys, monkeypatch):
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    name, _, target = setup["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert (name, target) == ("tfdata-engine", "engine.__main__:main")
    monkeypatch.setattr(sys, "argv", [f"/usr/local/bin/{name}", "--version"])
    assert overview.main() == 0
    assert overview.program() == name
    assert capsys.readouterr().out.startswith("tfdata-engine ")


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "engine"], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m engine COMMAND ...")
