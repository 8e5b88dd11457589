"""The commands of README.md: all of them parse, and the quick start runs as it stands, from top to bottom."""

import importlib
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from engine.base import build_settings, config, run_settings, settings
from tuning import arguments as tuning_arguments

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = {
    "engine.phantoms": build_settings.PhantomConfig,
    "engine.build_tfrecords": build_settings.BuildConfig,
    "engine.train": settings.TrainConfig,
    "engine.evaluate": run_settings.EvaluateConfig,
    "engine.predict": run_settings.PredictConfig,
    "engine.explain": run_settings.ExplainConfig,
}
SMALL_TRAINING = "--epochs 1 --depth 2 --width 4 --global-batch-size 16"
# What the test adds to each command, so that it ends in seconds: sizes and numbers, nothing else.
SMALL = {
    "engine.phantoms": "--train-images 100 --val-images 8 --test-images 16 --min-size 64 "
    "--max-size 80 --workers 1",
    "engine.build_tfrecords": "--image-size 32 --workers 1",
    "engine.train": SMALL_TRAINING,
    "engine.evaluate": "--resamples 200",
    "tuning.search": f"{SMALL_TRAINING} --max-trials 1",
}


def command(module: str):
    """The module that `python -m` runs; of a package its `__main__`."""
    found = importlib.import_module(module)
    return importlib.import_module(f"{module}.__main__") if hasattr(found, "__path__") else found


def block(title: str) -> str:
    """The indented lines behind `<!-- title -->`, without their indent."""
    lines = README.partition(f"<!-- {title} -->\n\n")[2].splitlines()
    end = next(i for i, line in enumerate(lines) if line and not line.startswith("    "))
    return "\n".join(line[4:] for line in lines[:end])


def commands(text: str) -> list[list[str]]:
    """The words of each `python -m ...` in a block, as a shell takes them, from the module on."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines if line.startswith("python -m ")]
    return [one[2:-1] if one[-1] == "&" else one[2:] for one in words]


INDENTED = "\n".join(re.findall(r"^    (.*)$", README, flags=re.MULTILINE))
ALL = [one for one in commands(INDENTED) if not one[0].startswith("benchmarks.")]


@pytest.mark.parametrize("words", ALL, ids=[" ".join(words)[:60] for words in ALL])
def test_every_command_parses_and_its_values_are_taken(words):
    module, *rest = words
    parsed = command(module).build_parser().parse_args(rest)
    if module == "engine.launch":
        module, rest = "engine.train", parsed.train_arguments[1:]
        parsed = command(module).build_parser().parse_args(rest)
    if module == "tuning.search":
        tuning_arguments.read(parsed)
    elif module in SETTINGS:
        parsed.config = None  # a file that another command makes
        config.from_flags(SETTINGS[module], parsed)


def test_the_quick_start_is_commands_that_this_test_runs_and_a_set_up_that_make_knows():
    lines = block("quick start").replace("\\\n", " ").splitlines()
    others = [x for x in lines if x and not x.startswith(("#", "python -m "))]
    assert others == ["make setup && . .venv/bin/activate"]
    subprocess.run(["make", "-n", "setup"], cwd=ROOT, check=True, capture_output=True)


def test_variants_start_from_what_the_quick_start_makes():
    made = {word for words in commands(block("quick start")) for word in words}
    for words in commands(block("variants")):
        shards = [word for word in words if word.startswith("data/") and "shards" in word]
        assert set(shards) <= made
        assert not {word for word in words if word.startswith("saved_models/")} & made


@pytest.mark.slow
def test_the_quick_start_runs_from_top_to_bottom(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for module, *words in commands(block("quick start")):
        status = command(module).main([*words, *SMALL.get(module, "").split()])
        assert status == 0, f"{module} {words}: {capfd.readouterr().err[-2000:]}"
    exec(block("quick start in Python"), {})
    for made in ("data/preview.png", "saved_models/quick/report.md", "saved_models/quick-best"):
        assert (tmp_path / made).exists()
    assert list((tmp_path / "data/heatmaps").glob("*.png"))
