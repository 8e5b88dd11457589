"""A tf.data high-throughput training engine for image classification from image folders.

`import engine` offers `build`, `inspect`, `train`, `evaluate`, `compare`, `report`, `predict`, `explain`,
`export`, `load`, `datasets` and `UserError`; each is imported when it is first used. `python -m engine`
lists the commands.

Commands are modules of this package; everything else lies in packages that follow the data. A file
imports from its own package and from the rows below it, and imports make no circles (held by
tests/test_layers.py):

    commands    build_tfrecords inspect_images train launch data_service evaluate compare report
                predict explain export demo_summary
    api         each command as a Python function
    evaluation  a trained run measured on a split
    inspection  what a set of images is made of
    explaining  where in an image a run finds what it predicts: drawn, measured, checked
    training    the loop, the compiled step, checkpoints, devices
    inference   a trained run at work: probabilities, evidence, exports
    pipeline    shards to batches: order, tiers, augmentation
    networks    the networks and their layers
    runs        a run on disk: directory, figures, report
    shards      TFRecord shards: built, verified, repaired
    phantoms    images made by a procedure
    images      image folders and files, splits, decoding
    metrics     arrays in, figures and intervals out
    base        configurations, files, locks, progress, the machine, random numbers

Importing the package imports none of them, and no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api import (
        build,
        compare,
        evaluate,
        explain,
        export,
        inspect,
        load,
        predict,
        report,
        train,
    )
    from engine.base.config import UserError
    from engine.pipeline import datasets

__version__ = "0.1.0"
__all__ = [
    "UserError",
    "build",
    "compare",
    "datasets",
    "evaluate",
    "explain",
    "export",
    "inspect",
    "load",
    "predict",
    "report",
    "train",
]

# The module that each name is, or is in. Six are commands that can also be called as functions.
_MODULES = {
    "UserError": "engine.base.config",
    "build": "engine.api",
    "compare": "engine.compare",
    "datasets": "engine.pipeline.datasets",
    "evaluate": "engine.evaluate",
    "inspect": "engine.api",
    "explain": "engine.explain",
    "export": "engine.export",
    "load": "engine.api",
    "predict": "engine.predict",
    "report": "engine.report",
    "train": "engine.train",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_MODULES[name])
    is_module = _MODULES[name].endswith(f".{name}")
    value = globals()[name] = module if is_module else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
