"""What the tests of the walk-throughs share: phantoms in a folder `chest_xray`, and small settings."""

import shutil
from collections.abc import Callable
from pathlib import Path

import page_runs
import pytest
import small_phantoms

PAGES = Path(__file__).resolve().parents[2] / "docs" / "walkthroughs"
SIZES = (128, 150, 224)  # of images in the pages, which become 32
# What the tests add to each command, so that it ends in seconds: sizes and numbers, nothing else.
SMALL = {
    "engine.phantoms": "--min-size 64 --max-size 80 --workers 1",
    "engine.inspect_images": "--workers 1",
    "engine.build_tfrecords": "--image-size 32 --workers 1",
    "engine.train": "--epochs 2 --global-batch-size 16 --reference-images 8",
    "engine.evaluate": "--resamples 200",
    "engine.predict": "--workers 1",
}
OWN_NETWORK = "--depth 2 --width 4"
# ImageNet's weights cannot be downloaded by a test; the head alone is trained, in half the time.
PRETRAINED = "--weights none --epochs 1 --fine-tune-from none --reference-images 0"


def small(module: str, words: list[str]) -> str:
    """The flags to add to a command."""
    added = SMALL.get(module, "")
    if module == "engine.train":
        added += f" {PRETRAINED if '--model' in words else OWN_NETWORK}"
    return added


@pytest.fixture(scope="package")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 phantoms to train on, 8 in `val` and 24 to test, of 64 to 80 pixels. Read only."""
    directory = tmp_path_factory.mktemp("walkthroughs") / "chest_xray"
    return small_phantoms.make(directory, train_images=64, max_size=80)


@pytest.fixture
def walk(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Runs a page in a new directory that holds `chest_xray`; returns the directory."""
    shutil.copytree(phantoms, tmp_path / "chest_xray")
    monkeypatch.chdir(tmp_path)

    def run(page: str) -> Path:
        page_runs.run_page(
            PAGES / page,
            small=small,
            smaller_python=lambda text: page_runs.smaller(text, SIZES),
        )
        return tmp_path

    return run
