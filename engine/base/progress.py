"""Progress on standard error: a live bar on a terminal, one line now and then where there is none.

Results go to standard output and are none of this module's concern.
"""

import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

LINE_INTERVAL = 10.0  # seconds between lines where standard error is no terminal


def say(text: str) -> None:
    """Writes one line to standard error at once; on a terminal, folded between words to its width."""
    if sys.stderr.isatty():
        text = folded(text, shutil.get_terminal_size().columns)
    print(text, file=sys.stderr, flush=True)


def folded(text: str, width: int) -> str:
    """A line as several of at most `width` columns, of which words that are longer, such as paths, take more."""
    return textwrap.fill(
        text, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def format_duration(seconds: float) -> str:
    """`42 s`, `3 min 5 s`, `2 h 3 min`."""
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class ProgressBar:
    """Counts images towards a known total and says how fast and how long still.

    A context manager. On a terminal it draws one live line; elsewhere it prints one line every
    `LINE_INTERVAL` seconds and one at the end.

    Args:
        label: what is being done, as `building train`.
        total: how many images there are.
        done: how many were done before this process started (they do not count towards images/s).
        is_hidden: whether nothing is shown at all.
        lines: whether to print lines where there is no terminal; without them only the live bar is
            drawn, for work whose end is announced in another way.
        stream: where to write; standard error by default.
        clock: seconds, monotonic; passed in by tests.
    """

    def __init__(
        self,
        label: str,
        *,
        total: int,
        done: int = 0,
        unit: str = "images",
        is_hidden: bool = False,
        lines: bool = True,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._lines, self._is_hidden = lines and not is_hidden, is_hidden
        self._already = self._done = done
        self._stream = stream if stream is not None else sys.stderr
        self._clock = clock
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._started = self._last_line = clock()

    def __enter__(self) -> "ProgressBar":
        self._started = self._last_line = self._clock()
        if self._stream.isatty() and not self._is_hidden:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[detail]}"),
                TimeRemainingColumn(compact=True),
                console=Console(file=self._stream),
                # Rich would send what is printed meanwhile to the bar's stream, and so results to
                # standard error; only where both are one terminal is that what the user wants.
                redirect_stdout=sys.stdout.isatty(),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._label, total=self._total, completed=self._done, detail=""
            )
        return self

    def __exit__(self, *exception: Any) -> None:
        if self._bar is not None:
            self._bar.stop()
        if exception[0] is None and self._lines:
            self._print_line(final=True)

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Counts `count` more images; `detail` (as `loss 0.31`) is shown behind the speed."""
        self._done += count
        if self._bar is not None:
            text = f"{self.images_per_second:,.0f} {self._unit}/s {detail}".rstrip()
            self._bar.update(self._task, completed=self._done, detail=text)
        elif self._lines and self._clock() - self._last_line >= LINE_INTERVAL:
            self._print_line(final=False)

    def advance_to(self, done: int) -> None:
        """As `advance`, up to a number of images in all."""
        self.advance(done - self._done)

    @property
    def images_per_second(self) -> float:
        """Images counted by this process over the seconds since the block was entered."""
        elapsed = self._clock() - self._started
        return (self._done - self._already) / elapsed if elapsed > 0 else 0.0

    def _print_line(self, *, final: bool) -> None:
        self._last_line = self._clock()
        speed = self.images_per_second
        if final:
            rest = format_duration(self._clock() - self._started)
        elif speed > 0:
            rest = f"{format_duration((self._total - self._done) / speed)} left"
        else:
            rest = "waiting"
        print(
            f"{self._label}: {self._done:,}/{self._total:,} {self._unit}, {speed:,.0f} {self._unit}/s, {rest}",
            file=self._stream,
            flush=True,
        )
