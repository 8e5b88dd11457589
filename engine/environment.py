"""What a run was trained on and with: the contents of `environment.json`."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from engine import runtime
from engine.tfrecords import Manifest


def describe(manifest: Manifest, shards: Path, run_on: runtime.Runtime) -> dict[str, Any]:
    """The contents of `environment.json`: data, hardware, versions, source revision."""
    return {
        "data": {
            "shards": str(shards),
            "fingerprint": manifest.fingerprint,
            "class_names": list(manifest.class_names),
            "image_size": list(manifest.image_size),
            "channels": manifest.channels,
            "keep_aspect_ratio": manifest.keep_aspect_ratio,
            "bits": manifest.bits,
            "resize_method": manifest.resize_method,
            "group_by": manifest.group_by,
            "seed": manifest.seed,
            "warnings": list(manifest.warnings),
            "splits": {
                name: {"num_examples": one.num_examples, "class_counts": dict(one.class_counts)}
                for name, one in manifest.splits.items()
            },
        },
        "runtime": {
            "summary": run_on.summary,
            "precision": run_on.precision,
            "jit_compile": run_on.jit_compile,
            "num_replicas": run_on.num_replicas,
        },
        **runtime.describe_machine(),
        "packages": _package_versions(),
        "git_commit": _git_commit(),
        "host": platform.node(),
    }


def _package_versions() -> dict[str, str]:
    names = ("tensorflow", "keras", "numpy", "tensorflow-datasets", "keras-tuner", "pillow")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The revision of the engine's own source, marked where it has uncommitted changes."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent,
            env={**os.environ, "LC_ALL": "C"},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
