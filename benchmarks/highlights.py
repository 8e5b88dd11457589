"""What the README shows of the stored results: figures, eight comparisons and one chart."""

import json
from pathlib import Path
from typing import Any

from benchmarks import outcomes
from benchmarks.outcomes import Outcome
from benchmarks.reports import number, times
from engine.base import files
from engine.metrics.estimate import Estimate

ENGINE = "engine, memory tier"
FROM_DIRECTORY = "image_dataset_from_directory, kept open"
KERAS_2_SCRIPT = "usual script, Keras 2 ImageDataGenerator"
LOADING = "batches of 224 x 224 images"
TRAINING = "training the tutorial network"
# One per row of the table: the suite, both sides as its results name them, the work and the other
# side in plain words.
COMPARISONS = (
    ("peers", ENGINE, "Keras 2 ImageDataGenerator", LOADING, "Keras 2 `ImageDataGenerator`"),
    ("peers", ENGINE, FROM_DIRECTORY, LOADING, "`image_dataset_from_directory`"),
    (
        "peers",
        ENGINE,
        "image_dataset_from_directory, cached (same batches), kept open",
        LOADING,
        "the same with `.cache()`, which repeats the same float32 batches every epoch",
    ),
    (
        "peers",
        ENGINE,
        "PyTorch DataLoader, simplejpeg",
        LOADING,
        "PyTorch `DataLoader`, simplejpeg",
    ),
    (
        "peers",
        ENGINE,
        "Grain, ArrayRecord of raw images, kept open",
        LOADING,
        "Grain, ArrayRecord of raw images",
    ),
    (
        "augment",
        "tutorial: engine, fused",
        "Keras layers in a row",
        "rotation, shift, shear, zoom, flip",
        "Keras layers in a row",
    ),
    ("train", "engine", KERAS_2_SCRIPT, TRAINING, "Keras 2 script with `ImageDataGenerator`"),
    (
        "train",
        "engine",
        "Keras 3, image_dataset_from_directory, cached",
        TRAINING,
        "Keras 3, `image_dataset_from_directory`, cached",
    ),
)
# The bars of the chart, rows of the suite `peers`.
CHARTED = (
    "Keras 2 ImageDataGenerator",
    "PyTorch DataLoader, Pillow",
    "PyTorch DataLoader, simplejpeg",
    "Grain, ArrayRecord of raw images, kept open",
    FROM_DIRECTORY,
    "TFDS on the same shards, cached, kept open",
    "engine, streaming tier",
    ENGINE,
)


def render_figures(training: dict[str, Any], results: Path) -> str:
    """The figures at the top of the README, as a Markdown table; the hardest set comes first.

    Args:
        training: what `benchmarks/results/training/default.json` holds.
        results: the directory of the suites' results.
    """
    metrics = training["metrics"]
    auroc, accuracy = (Estimate.from_json(metrics[name]) for name in ("auroc", "accuracy"))
    patients, splits = training["num_patients"], training["splits"]
    loader = times(_ratio(results, "peers", ENGINE, FROM_DIRECTORY)["median"])
    script = times(_ratio(results, "train", "engine", KERAS_2_SCRIPT)["median"])
    speed = number(_speeds(results)[ENGINE]["images_per_second"])
    versions = training["versions"]
    return "\n".join(
        [
            "| | |",
            "| --- | --- |",
            *_hardest_first(results),
            f"| AUROC on {splits['test']} test images of {patients} patients | {auroc} |",
            f"| accuracy, at a threshold chosen on validation | {accuracy} |",
            f"| that training: {training['training']['epochs']} epochs of {splits['train']:,} images "
            f"| {training['training']['seconds'] / 60:.1f} minutes |",
            f"| batches from memory | {speed} images/s, {loader} times "
            "`image_dataset_from_directory` |",
            f"| training the network of the usual tutorial | {script} times the speed of the Keras 2 "
            "script |",
            "",
            f"Chest X-rays of 224 x 224 pixels; {training['cores']} CPU cores "
            f"({training['processor']}), TensorFlow {versions['tensorflow']},\nKeras "
            f"{versions['keras']}; 95 % intervals over patients.",
        ]
    )


def _hardest_first(results: Path) -> list[str]:
    """Rows of the sets that are no random part of the training's images, the hardest first, if measured.

    They are those of the settings that come first in the results: the default.
    """
    path = results / "generalization.json"
    if not path.is_file():
        return []
    found = [Outcome.from_json(values) for values in files.read_json(path)["outcomes"]]
    default = found[0].candidate
    seeds = len({outcome.seed for outcome in found})
    sets = {
        name: outcomes.of(found, default, name)
        for name in outcomes.set_names(found)
        if name != outcomes.OWN
    }
    known = sorted((s for s in sets if "auroc" in sets[s]), key=lambda s: sets[s]["auroc"].median)
    return [
        f"| {name}: AUROC, accuracy; median of {seeds} seeds (range) | "
        f"{outcomes.text(sets[name], 'auroc')}, {outcomes.text(sets[name], 'accuracy')} |"
        for name in known
    ]


def render_comparisons(results: Path) -> str:
    """The eight comparisons of the README, as a Markdown table."""
    lines = [
        "| work | compared with | times as fast | 90 % interval |",
        "| --- | --- | ---: | ---: |",
    ]
    for suite, side, other, work, plainly in COMPARISONS:
        ratio = _ratio(results, suite, side, other)
        interval = f"{times(ratio['low'])}-{times(ratio['high'])}"
        lines.append(f"| {work} | {plainly} | {times(ratio['median'])} | {interval} |")
    return "\n".join(lines)


def draw_chart(results: Path, path: Path) -> None:
    """Draws images/s of the loaders, with 90 % intervals, into a PNG that records its values."""
    from benchmarks import figures
    from engine.runs.figure_style import new_figure, styled

    speeds = _speeds(results)
    names = CHARTED[::-1]
    rows = [
        (name, *(speeds[name][key] for key in ("low", "images_per_second", "high")))
        for name in names
    ]
    figure = new_figure(8.4, 3.3)
    axes = styled(
        figure.add_subplot(),
        xlabel="images/s, batches of 64 images of 224 x 224, two cores; lines: 90 % intervals",
    )
    figures.draw_bars(
        axes, rows, places=range(len(rows)), engine=["engine" in name for name in names]
    )
    axes.set_xlim(1_000, 1_000_000)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    with files.written_aside(path) as aside:
        metadata = {"Software": None, "Description": chart_values(results)}
        figure.savefig(aside, format="png", dpi=110, metadata=metadata)


def chart_values(results: Path) -> str:
    """The values that the chart shows, as text; the chart's file records them."""
    speeds = _speeds(results)
    keys = ("low", "images_per_second", "high")
    return json.dumps({name: [speeds[name][key] for key in keys] for name in CHARTED})


def _ratio(results: Path, suite: str, side: str, other: str) -> dict[str, Any]:
    ratios = files.read_json(results / f"{suite}.json")["ratios"]
    return next(ratio for ratio in ratios if (ratio["of"], ratio["to"]) == (side, other))


def _speeds(results: Path) -> dict[str, dict[str, Any]]:
    """The rows of the suite `peers` by name."""
    return {row["name"]: row for row in files.read_json(results / "peers.json")["rows"]}
