"""What a run was trained on and with: the contents of `environment.json`."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.runs import lineage
from engine.shards import audit_counts, data_identity
from engine.shards.tfrecords import Manifest
from engine.training import runtime


def describe(
    manifest: Manifest,
    shards: Path,
    run_on: runtime.Runtime,
    *,
    order: str,
    code: dict[str, dict[str, str]],
    sources: Mapping[str, str | None],
) -> dict[str, Any]:
    """The contents of `environment.json`: data, the user's code, hardware, versions, source revision.

    Args:
        order: see `tiers.Tier`.
        code: see `code_identity.describe`.
        sources: the runs that this one learns from; see `lineage.describe`.
    """
    data = data_identity.describe(manifest)
    return {
        "data": {
            "shards": str(shards),
            **data,
            "audit": audit_counts.describe(manifest),
            lineage.KEY: lineage.describe(sources, data),
            "bits": manifest.bits,
            "resize_method": manifest.resize_method,
            "warnings": list(manifest.warnings),
        },
        "runtime": {
            "summary": run_on.summary,
            "precision": run_on.precision,
            "jit_compile": run_on.jit_compile,
            "num_replicas": run_on.num_replicas,
            "order": order,
        },
        "code": code,
        **runtime.describe_machine(),
        "packages": _package_versions(),
        "git_commit": _git_commit(),
        "host": platform.node(),
    }


def session(described: dict[str, Any]) -> dict[str, Any]:
    """What `environment.json` keeps of a resume, out of what `describe` gives there."""
    kept = ("host", "runtime", "packages", "git_commit")
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"since": since, **{name: described[name] for name in kept}}


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
