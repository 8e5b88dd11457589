"""Runs a program as a user who may not read everything, which root may."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534


def run(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python code in a temporary `directory` as `nobody`; skips the test where that cannot be."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv")
    for folder in (directory, *directory.parents):
        if Path(tempfile.gettempdir()) in folder.parents:  # pytest's own, closed to others
            folder.chmod(folder.stat().st_mode | 0o011)
    if _as_nobody("import numpy", directory).returncode:
        pytest.skip("another user may not run this Python here")
    return _as_nobody(program, directory)


def _as_nobody(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    try:
        return subprocess.run(
            [*command, sys.executable, "-c", program],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(directory)},
            capture_output=True,
            text=True,
        )
    except OSError as error:
        pytest.skip(f"another user cannot be taken: {error}")
