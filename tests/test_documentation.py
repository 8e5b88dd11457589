"""README.md, CONTRIBUTING.md and docs/: commands parse, snippets run, links lead somewhere, lines are short.

Python blocks of a page run from top to bottom in one namespace, in a directory with small shards of
phantoms under the names that the pages use. `<!-- not run: reason -->` above a block leaves it out.
"""

import importlib
import re
import shutil
import subprocess
from pathlib import Path

import markdown_blocks
import page_runs
import pytest
from page_runs import command_module

from engine.base import (
    build_settings,
    config,
    export_settings,
    inspect_settings,
    run_settings,
    settings,
)
from tuning import arguments as tuning_arguments

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
GENERATED = {"api.md", "settings.md", "architecture.md"}
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "examples" / "README.md"]
WALKTHROUGHS = sorted((ROOT / "docs" / "walkthroughs").glob("*.md"))  # tests/walkthroughs run them
PAGES = [README, *OTHERS, *sorted((ROOT / "docs").glob("*.md")), *WALKTHROUGHS]
WRITTEN = [page for page in PAGES if page.name not in GENERATED]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
SETTINGS = {
    "engine.phantoms": build_settings.PhantomConfig,
    "engine.inspect_images": inspect_settings.InspectConfig,
    "engine.build_tfrecords": build_settings.BuildConfig,
    "engine.train": settings.TrainConfig,
    "engine.evaluate": run_settings.EvaluateConfig,
    "engine.predict": run_settings.PredictConfig,
    "engine.explain": run_settings.ExplainConfig,
    "engine.export": export_settings.ExportConfig,
}
SMALL_TRAINING = "--epochs 1 --depth 2 --width 4 --global-batch-size 16"
# What the test adds to each command, so that it ends in seconds: sizes and numbers, nothing else.
SMALL = {
    "engine.phantoms": "--train-images 100 --val-images 8 --test-images 16 --min-size 64 "
    "--max-size 80 --workers 1",
    "engine.inspect_images": "--workers 1",
    "engine.build_tfrecords": "--image-size 32 --workers 1",
    "engine.train": SMALL_TRAINING,
    "engine.evaluate": "--resamples 200",
    "tuning.search": f"{SMALL_TRAINING} --max-trials 1",
}
MAKES_DATA = 3  # commands of the quick start: phantoms, a look at them, and shards of them
COMMANDS = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}")
    for page in PAGES
    for block in markdown_blocks.blocks(TEXTS[page])
    for words in markdown_blocks.commands(block.text)
    if block.language == "sh" and not words[0].startswith(("benchmarks", "pytest"))
]


RUNNABLE = {
    page: page_runs.runnable(TEXTS[page], "python") for page in WRITTEN if page not in WALKTHROUGHS
}


def quick_start() -> str:
    """The shell commands of the README's quick start."""
    (block,) = (x for x in markdown_blocks.blocks(TEXTS[README]) if x.title == "quick start")
    return block.text


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_parses_and_its_values_are_accepted(words, monkeypatch):
    monkeypatch.chdir(ROOT)  # where `--model examples/...` leads to a file
    module, *rest = words
    if "--config" in rest:  # a file that another command makes
        place = rest.index("--config")
        del rest[place : place + 2]
    if "--help" in rest:
        with pytest.raises(SystemExit, match="0"):
            command_module(module).build_parser().parse_args(rest)
        return
    parsed = command_module(module).build_parser().parse_args(rest)
    if module == "engine.launch":
        module, rest = "engine.train", parsed.train_arguments[1:]
        parsed = command_module(module).build_parser().parse_args(rest)
    if module == "tuning.search":
        tuning_arguments.read(parsed)
    elif module in SETTINGS:
        config.from_flags(SETTINGS[module], parsed)


def test_the_quick_start_is_commands_that_this_test_runs_and_a_set_up_that_make_knows():
    lines = quick_start().replace("\\\n", " ").splitlines()
    others = [x for x in lines if x and not x.startswith(("#", "python -m "))]
    assert others == ["make setup && . .venv/bin/activate"]
    subprocess.run(["make", "-n", "setup"], cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Phantoms and shards under the names that the pages use, as small as they can be."""
    folder = tmp_path_factory.mktemp("documentation")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for module, *words in markdown_blocks.commands(quick_start())[:MAKES_DATA]:
            assert command_module(module).main([*words, *SMALL[module].split()]) == 0
    return folder


@pytest.fixture
def beside_data(data, tmp_path, monkeypatch):
    """A directory, made the current one, with a copy of `data`."""
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_quick_start_runs_from_top_to_bottom(beside_data, capfd):
    for module, *words in markdown_blocks.commands(quick_start())[MAKES_DATA:]:
        status = command_module(module).main([*words, *SMALL.get(module, "").split()])
        assert status == 0, f"{module} {words}: {capfd.readouterr().err[-2000:]}"
    for made in ("data/phantoms.html", "saved_models/quick.html", "saved_models/quick-best"):
        assert (beside_data / made).exists()
    assert list((beside_data / "data/heatmaps").glob("*.png"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in RUNNABLE if RUNNABLE[page]],
    ids=lambda page: str(page.relative_to(ROOT)),
)
@pytest.mark.usefixtures("beside_data")
def test_python_blocks_run_from_top_to_bottom(page, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    namespace = {"__name__": "documentation"}
    for block in RUNNABLE[page]:
        page_runs.run_python(block, page, namespace, page_runs.smaller)


def test_the_network_of_the_guide_is_that_of_the_examples():
    page = markdown_blocks.blocks(TEXTS[ROOT / "docs" / "own-network.md"])
    source = (ROOT / "examples" / "small_network.py").read_text(encoding="utf-8")
    assert source.endswith(page[0].text)


@pytest.mark.slow
@pytest.mark.usefixtures("beside_data")
def test_the_example_runs_as_it_stands(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    example = importlib.import_module("own_network")
    example.main(["--images", "data/phantoms", "--image-size", "32", "--epochs", "1"])
    printed = capsys.readouterr().out
    for line in ("train: ", "epoch  1", "AUROC", "probabilities"):
        assert line in printed


def test_the_network_of_contributing_can_be_built():
    from engine.images.format import ImageFormat

    namespace: dict = {}
    (block,) = RUNNABLE[ROOT / "CONTRIBUTING.md"]
    exec(block.text, namespace)
    image_format = ImageFormat(image_size=(32, 32), channels=1)
    assert namespace["NETWORK"].build(image_format, 2).output_shape == (None, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if target.startswith("http"):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_lines_are_short_but_for_tables_and_links(page):
    long = [
        line
        for line in TEXTS[page].splitlines()
        if len(line) > 100 and not line.startswith(("|", "![")) and "](" not in line
    ]
    if page.name in {"benchmarks.md", "search.md"}:  # sentences made from stored results
        long = [x for x in long if not re.search(r"AMD|python -m benchmarks|^- `|Lowest", x)]
    assert not long


def test_the_readme_is_short():
    assert len(TEXTS[README].splitlines()) <= 250
