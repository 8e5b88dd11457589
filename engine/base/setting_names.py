"""Names of settings: their flags, and what a mistyped or foreign name was meant for."""

import difflib
from collections.abc import Sequence

# What other programs, and earlier versions of this one, call a setting.
ALIASES = {
    "amp": "precision",
    "arch": "model",
    "aug": "augment",
    "augmentation": "augment",
    "batch": "global-batch-size",
    "batch-size": "global-batch-size",
    "bs": "global-batch-size",
    "clip-norm": "global-clipnorm",
    "clipnorm": "global-clipnorm",
    "dtype": "precision",
    "early-stopping": "early-stopping-patience",
    "ema": "ema-momentum",
    "flip": "horizontal-flip",
    "fp16": "precision",
    "gpus": "strategy",
    "grad-clip": "global-clipnorm",
    "img-size": "image-size",
    "jobs": "workers",
    "logdir": "workdir",
    "lr": "learning-rate",
    "lr-scheduler": "schedule",
    "mixed-precision": "precision",
    "momentum": "optimizer",
    "network": "model",
    "num-epochs": "epochs",
    "num-workers": "workers",
    "out": "output",
    "output": "workdir",
    "output-dir": "workdir",
    "patience": "early-stopping-patience",
    "random-seed": "seed",
    "resize": "image-size",
    "run-dir": "workdir",
    "scheduler": "schedule",
    "seeds": "num-seeds",
    "val-split": "validation-fraction",
    "validation-split": "validation-fraction",
    "warmup": "warmup-epochs",
    "wd": "weight-decay",
    "xla": "jit-compile",
}

MOST_LISTED = 20  # names in a message


def flag_name(field_name: str) -> str:
    """`global_batch_size` -> `--global-batch-size`."""
    return "--" + field_name.replace("_", "-")


def closest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that `word` was meant for, by `ALIASES` or by its spelling; None if none is near.

    Dashes and underscores are the same, so that flags and JSON keys are found alike.
    """
    by_plain = {_plain(name): name for name in known}
    plain = _plain(word)
    if (meant := ALIASES.get(plain)) in by_plain:
        return by_plain[meant]
    beginnings = [name for name in by_plain if plain and name.startswith(plain)]
    close = beginnings[:1] or difflib.get_close_matches(plain, list(by_plain), n=1)
    return by_plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`; did you mean 'depth'?`, or where nothing is close all that is known, if that fits in a line."""
    meant = closest(word, known)
    if meant is not None:
        return f"; did you mean {meant!r}?"
    if len(known) > MOST_LISTED:
        return f"; {len(known)} names are known, which --help lists"
    return f"; expected one of {', '.join(known)}"
