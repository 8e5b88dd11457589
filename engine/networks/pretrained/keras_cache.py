"""The weights of keras.applications in Keras' cache: whether they are there, before anything is downloaded.

Keras downloads a missing file by itself. Where there is no network it tries for a long time, and after the
images were read; here one attempt to connect, of a second at most, answers before TensorFlow is loaded.
"""

import hashlib
import os
import socket
import tempfile
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

from engine.base.config import UserError

_HOST = "storage.googleapis.com"  # that of the addresses in keras.applications
_PORT = 443
_PATIENCE = 0.8  # seconds


class CachedFile(NamedTuple):
    """A file of weights, and what Keras knows of it; the MD5 is empty where Keras knows none."""

    name: str
    size_mb: float
    md5: str = ""


def check(file: CachedFile) -> None:
    """Raises `UserError` unless the file is in the cache, whole, or can be downloaded."""
    folder = folder_of_weights()
    path = folder / file.name
    if path.is_file():
        if not file.md5:
            return
        found = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if found == file.md5:
            return
        state = f"in {folder} is damaged or of another version (its MD5 is not {file.md5})"
    else:
        state = f"is not in {folder}"
    if not can_connect():
        raise UserError(
            f"--weights imagenet: {file.name} ({file.size_mb} MB) {state}, and it cannot be downloaded, "
            f"as {_HOST} does not answer; put the file there, or give --weights FILE or --weights none"
        )


def folder_of_weights() -> Path:
    """Where Keras keeps them; as `keras.utils.get_file` finds it."""
    home = Path(os.environ.get("KERAS_HOME", Path("~", ".keras"))).expanduser()
    existing = next(place for place in (home, *home.absolute().parents) if place.exists())
    if not os.access(existing, os.W_OK):
        home = Path("/tmp" if Path("/tmp").is_dir() else tempfile.gettempdir(), ".keras")
    return home / "models"


def can_connect(patience: float = _PATIENCE) -> bool:
    """Whether the host of the weights, or the proxy on the way, accepts a connection.

    A thread asks, since looking up a name cannot be given a time limit.
    """
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(_connects(patience)), daemon=True)
    asking.start()
    asking.join(patience)
    return bool(answers) and answers[0]


def _connects(patience: float) -> bool:
    proxy = urllib.request.getproxies().get("https")
    host, port = _HOST, _PORT
    if proxy and not urllib.request.proxy_bypass(_HOST):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host, port = parts.hostname or _HOST, parts.port or _PORT
    try:
        socket.create_connection((host, port), timeout=patience).close()
    except OSError:
        return False
    return True
