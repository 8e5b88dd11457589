"""Walk-through D runs from top to bottom; on real images the default reaches what the script reaches."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import small_sets
from engine.shards import tfrecords

IMAGES = Path(__file__).resolve().parents[3] / "shared" / "chest_xray"


def test_the_page_trains_on_32_images_and_measures_on_16(walk, capsys):
    there = walk("d-a-few-images.md")
    splits = tfrecords.read_manifest(there / "data" / "walk-d").splits
    counts = {name: info.num_examples for name, info in splits.items()}
    assert counts == {"train": 32, "validation": 10, "test": 16}
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not IMAGES.is_dir(), reason="needs the chest X-ray images")
def test_the_default_reaches_the_accuracy_of_the_tutorials_script(tmp_path, monkeypatch):
    """On draws of its own: a mean accuracy on 300 held-out images, as 16 images decide by chance."""
    pytest.importorskip("tf_keras")
    monkeypatch.chdir(
        Path(__file__).resolve().parents[2]
    )  # where `python -m benchmarks...` is found
    draws = small_sets.draw(IMAGES, tmp_path, draws=2, held_out=300, seed=77)
    script = [row["held_out"] for row in small_sets.by_script(draws)]
    default = [row["held_out"] for row in small_sets.by_engine(draws, tmp_path)]
    assert np.mean(default) >= np.mean(script)
