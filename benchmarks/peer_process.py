"""Peers run in their own process, and often in their own environment.

The process opens its loader once, then waits; each line on its standard input requests a number of
passes, and the answer holds what they took. A waiting process uses no processor time, so such a side
can alternate with those of this process. See `benchmarks/peers/__main__.py` for the other end.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Work

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ".venv-peers"  # made by `make peers`


class PeerError(Exception):
    """A peer could not be opened or failed; the message is its last line."""


class PeerProcess:
    """A context manager around one peer; `run` is the side's function.

    Args:
        name: the file in `benchmarks/peers/`, without its suffix.
        request: what to open, as JSON values (see `peers.Request`).
    """

    def __init__(self, name: str, request: dict[str, Any]) -> None:
        self._name, self._request = name, request
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "PeerProcess":
        python = find_python(self._name)
        if python is None:
            raise PeerError(missing_word(self._name))
        self._process = subprocess.Popen(
            [python, "-m", "benchmarks.peers", self._name, json.dumps(self._request)],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        try:
            self.opened = self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()  # its loop ends with its input
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process.stdout.close()
        self._errors.close()

    def run(self, passes: int) -> Work:
        """Requests passes and waits until they are done."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{passes}\n")
        self._process.stdin.flush()
        answer = self._answer()
        return Work(answer["images"], answer["cpu_seconds"], answer["peak_memory_bytes"])

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):  # libraries may print other lines
                return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        last = lines[-1] if lines else f"exit status {self._process.returncode}"
        raise PeerError(shown(last))


def shown(line: str) -> str:
    """A line of an error as stored in results: shortened, with only the last part of paths."""
    return re.sub(r"(?:/[^/\s:'\"]+)+/", "", line)[:200]


def find_python(name: str) -> str | None:
    """The interpreter whose environment has the peer's packages: this one, or that of `make peers`."""
    candidates = [sys.executable]
    for environment in (os.environ.get("BENCHMARKS_PEERS"), str(ROOT / ENVIRONMENT)):
        if environment and (Path(environment) / "bin/python").exists():
            candidates.append(str(Path(environment) / "bin/python"))
    for python in candidates:
        command = [python, "-m", "benchmarks.peers", name, "--check"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120)
        if done.returncode == 0:
            return python
    return None


def missing_word(name: str) -> str:
    """Why a peer is skipped, and how to install it."""
    from benchmarks import peers

    needed = " ".join(peers.load(name).REQUIRES)
    return f"not installed ({needed}); run make peers"
