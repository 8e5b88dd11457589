"""Compressed frames decoded in a process of their own, by pydicom's plugins.

The plugins are C and C++ that damaged data can end: GDCM lets exceptions through that terminate the
process. Here that costs one image instead of a build. A process is started when the first such frame is
met (0.5 s), is used again, and ends with the process that started it. What passes between the two is a
line of JSON and the bytes of a frame.

Its memory is limited by the size of the image (Linux), so that a frame that takes more than such an image
can is refused. One that the kernel kills all the same, as memory runs out, may be no fault of the frame:
it is decoded once more, with no other such frame of this process beside it, and then given up.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from engine.images.source_file import DecodeError

# The first that is installed and succeeds. GDCM comes last: it takes damaged data for images most often.
PLUGINS = ("pyjpegls", "pylibjpeg", "pillow", "gdcm")
LIMIT_SECONDS = 600.0  # of a frame; JPEG 2000 takes 0.3 s per megapixel on an idle core

# Of address space, beside what the process has before: OpenJPEG takes 12 bytes per sample.
BYTES_PER_SAMPLE = 64
SPARE_BYTES = 512 << 20

KILLED = (
    "a DICOM file whose decoder was killed twice, most likely because the machine ran out of memory; try "
    "fewer --workers or smaller --max-pixels"
)
_SIGKILL = getattr(signal, "SIGKILL", 9)  # Windows has none, nor exit statuses below 0
_START = "import sys; sys.path[:] = {path!r}; from {module} import serve; serve()"
_idle: "list[_Process]" = []
_owner = 0  # the process that started those
_lock = threading.Lock()
_second_tries = threading.Lock()


def decode(
    pixels: bytes, syntax: str, options: dict[str, Any], *, limit: float = LIMIT_SECONDS
) -> tuple[np.ndarray, str]:
    """Decodes one encapsulated frame.

    Args:
        pixels: the value of Pixel Data, with one frame.
        syntax: the UID of the transfer syntax.
        options: those of pydicom's `Decoder.as_array`, of JSON's types.
        limit: seconds after which the frame is given up.

    Returns:
        The values, and the Photometric Interpretation that they have now.

    Raises:
        DecodeError: no plugin decodes it, it takes longer than `limit` or more memory than such an image, or
            the process was killed twice.
    """
    question = {"syntax": syntax, "options": options}
    try:
        answer, data = _asked(question, pixels, limit)
    except _KilledError:
        try:
            with _second_tries:
                answer, data = _asked(question, pixels, limit)
        except _KilledError:
            raise DecodeError(KILLED) from None
    if "error" in answer:
        raise DecodeError(f"damaged DICOM file: {answer['error']}")
    values = np.frombuffer(data, np.dtype(answer["dtype"])).reshape(answer["shape"])
    return values, answer["photometric"]


def _asked(question: dict[str, Any], pixels: bytes, limit: float) -> tuple[dict[str, Any], bytes]:
    with _process() as process:
        return process.ask(question, pixels, limit)


class _KilledError(Exception):
    """Somebody else killed the process, such as the kernel when memory ran out."""


class _Process:
    """One process, which answers one question after another."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=sys.path, module=__name__)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # plugins write there what is wrong, without the file's name
        )

    def ask(
        self, question: dict[str, Any], data: bytes, limit: float
    ) -> tuple[dict[str, Any], bytes]:
        """The answer, and the bytes behind it; ends the process where there is none.

        Raises:
            _KilledError: see there.
            DecodeError: the process broke off, or took longer than `limit` seconds.
        """
        assert self._child.stdin is not None and self._child.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(limit, give_up)
        timer.daemon = True
        timer.start()
        try:
            _send(self._child.stdin, question, data)
            return _receive(self._child.stdout)
        except (OSError, EOFError):
            killed = self._status() == -_SIGKILL and not late.is_set()
            self.end()
            if killed:
                raise _KilledError from None
            why = f"not decoded in {limit:g} s" if late.is_set() else "its decoder broke off"
            raise DecodeError(f"damaged DICOM file: {why}") from None
        except BaseException:
            self.end()
            raise
        finally:
            timer.cancel()

    def _status(self) -> int | None:
        """The exit status of a process that ends; None of one that goes on without its pipes."""
        try:
            return self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return None

    @property
    def is_running(self) -> bool:
        """Whether it can be asked again."""
        return self._child.poll() is None

    def end(self) -> None:
        """Ends the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


@contextlib.contextmanager
def _process() -> Iterator[_Process]:
    """A process that nobody else asks meanwhile."""
    global _owner
    with _lock:
        if _owner != os.getpid():  # also after a fork, whose copy must not talk into these pipes
            _owner = os.getpid()
            _idle.clear()
            atexit.register(_end_idle)
        process = _idle.pop() if _idle else None
    process = process or _Process()
    try:
        yield process
    finally:
        if process.is_running:
            with _lock:
                _idle.append(process)


def _end_idle() -> None:
    with _lock:
        if _owner == os.getpid():
            while _idle:
                _idle.pop().end()


def _send(pipe: IO[bytes], values: dict[str, Any], data: bytes) -> None:
    pipe.write(json.dumps({**values, "bytes": len(data)}).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """What `_send` sent; raises `EOFError` where the other side has ended."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    values = json.loads(line)
    data = pipe.read(values["bytes"])
    if len(data) < values["bytes"]:
        raise EOFError
    return values, data


# ---------------------------------------------------------------------------- in the process


def serve() -> None:
    """Answers questions until the pipe is closed, as it is when the process that asks ends."""
    import warnings

    warnings.simplefilter("ignore")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints is no answer
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            question, pixels = _receive(sys.stdin.buffer)
            try:
                _limit_memory(question["options"])
                values, photometric = decode_here(pixels, question["syntax"], question["options"])
            except Exception as error:
                _send(answers, {"error": _reason(error)}, b"")
                continue
            shape = {"dtype": values.dtype.str, "shape": values.shape, "photometric": photometric}
            _send(answers, shape, values.tobytes())


def _limit_memory(options: dict[str, Any]) -> None:
    """Limits this process to what decoding an image of this size may take, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (ImportError, OSError):
        return
    samples = options["rows"] * options["columns"] * options["samples_per_pixel"]
    limit = pages * resource.getpagesize() + SPARE_BYTES + BYTES_PER_SAMPLE * samples
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _reason(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "its decoder takes more memory than such an image needs"
    detail = " ".join((str(error).strip().splitlines() or [type(error).__name__])[-1].split())
    if "NoneType" in detail:  # all that GDCM says
        return "its pixels cannot be decoded"
    return f"its pixels cannot be decoded ({detail[:200]})"


def decode_here(pixels: Any, syntax: str, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """As `decode`, in this process; raises whatever the last plugin does."""
    from pydicom import pixels as decoders
    from pydicom import uid

    decoder = decoders.get_decoder(uid.UID(syntax))
    plugins = [name for name in PLUGINS if name in decoder.available_plugins] or [""]
    for plugin in plugins[:-1]:
        with contextlib.suppress(Exception):
            return _as_array(decoder, pixels, plugin, options)
    return _as_array(decoder, pixels, plugins[-1], options)


def _as_array(
    decoder: Any, pixels: Any, plugin: str, options: dict[str, Any]
) -> tuple[np.ndarray, str]:
    values, found = decoder.as_array(pixels, index=0, raw=True, decoding_plugin=plugin, **options)
    return values, str(found["photometric_interpretation"])
