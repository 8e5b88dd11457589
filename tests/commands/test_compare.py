"""`engine.compare` prints one table over runs and each against the first, without TensorFlow."""

import json
import subprocess
import sys

import pytest
import stored_runs

import engine
from engine import compare

PROGRAM = """
import sys
from engine import compare
status = compare.main(sys.argv[1:])
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
assert "matplotlib" not in sys.modules
sys.exit(status)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("runs")
    return [
        stored_runs.store(
            base / name,
            *stored_runs.scores(noise=noise, seed=seed),
            settings={"epochs": 12 * (seed + 1), "learning_rate": 0.001},
        )
        for seed, (name, noise) in enumerate(
            (("first", 3.0), ("a-run-with-a-rather-long-name", 1.5), ("third", 0.7))
        )
    ]


@pytest.fixture(scope="module")
def piped(runs):
    """The lines that the command writes where standard output is no terminal."""
    command = [sys.executable, "-c", PROGRAM, *map(str, runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_needs_no_tensorflow_and_fits_80_columns(piped, runs):
    assert max(len(line) for line in piped) <= 80
    assert not any("\x1b" in line for line in piped)
    text = "\n".join(piped)
    assert "test: 160 images of 80 patients" in text
    assert "third: epochs 36" in text
    assert "third against first:" in text
    assert "McNemar's exact test" in " ".join(text.split())
    assert "Holm" in text


def test_numbers_stay_whole_beside_a_long_name(piped):
    row = next(line for line in piped if line.strip().startswith("first  "))
    assert len(row.split()) == 6 and all(len(number) == 6 for number in row.split()[1:])
    limits = piped[piped.index(row) + 1].split()
    assert len(limits) == 5 and all(len(limit) == len("0.531-0.711") for limit in limits)


def test_files_are_written_and_named(runs, tmp_path, capsys):
    values, output = tmp_path / "deep" / "figures.json", tmp_path / "out"
    arguments = [str(runs[0]), str(runs[2]), "--json", str(values), "--output", str(output)]
    assert compare.main([*arguments, "--resamples", "200", "--figures", "png,pdf"]) == 0
    printed = capsys.readouterr().out
    assert f"figures: {values}" in printed and f"report: {output / 'compare.md'}" in printed
    assert json.loads(values.read_text(encoding="utf-8")) == json.loads(
        (output / "compare.json").read_text(encoding="utf-8")
    )
    assert (output / "compare_roc.pdf").is_file()
    assert "Holm" not in printed  # of one comparison there is nothing to correct


def test_the_baseline_flag_puts_a_run_first(runs, capsys):
    arguments = [*map(str, runs), "--baseline", str(runs[2]), "--resamples", "200"]
    assert compare.main(arguments) == 0
    assert "first against third:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["{first}"], "expected two runs or more"),
        (["{first}", "{first}"], "is given twice"),
        (["{first}", "{tmp}/absent"], "no such run directory"),
        (["{first}", "{third}", "--split", "validation"], "no evaluation of the validation split"),
        (["{first}", "{third}", "--json", "{tmp}"], "it is a directory"),
        (["{first}", "{third}", "--output", "{first}/config.json"], "is a file"),
        (["{first}", "{third}", "--json", "{tmp}/compare.md", "--output", "{tmp}"], "two files"),
        (["{first}", "{third}", "--name", "../x"], "--name"),
        (["{first}", "{third}", "--figures", "bmp"], "--figures"),
    ],
)
def test_wrong_input_is_one_line(runs, tmp_path, capsys, flags, said):
    places = {"first": runs[0], "third": runs[2], "tmp": tmp_path}
    try:
        status = compare.main([flag.format(**places) for flag in flags])
    except SystemExit as stop:
        status = stop.code
    error = capsys.readouterr().err
    assert status == 2
    assert said in error and len(error.splitlines()) == 1


def test_python_compares_as_the_command_does(runs, tmp_path):
    found = engine.compare([runs[0], runs[2]], output=tmp_path / "out", resamples=200)
    assert found.pairs[0].differences["auroc"].value > 0
    assert "third against first: AUROC +" in str(found)
    assert (tmp_path / "out" / "compare.md").is_file()
    with pytest.raises(engine.UserError, match="expected two runs or more"):
        engine.compare(runs[0])
    with pytest.raises(engine.UserError, match="did you mean 'resamples'"):
        engine.compare(runs, resample=200)
