"""How far a long fetch is, told to whoever waits for it."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

_LINE_EVERY_S = 3.0


class Progress(Protocol):
    def update(self, step: str, done: int, total: int) -> None:
        """step: what is being done, for a person; done, total: bytes."""
        ...


class LineProgress:
    """Plain lines for logs: at each new step, every few seconds, and at a step's end."""

    def __init__(self, out: TextIO | Callable[[str], None], every_s: float = _LINE_EVERY_S) -> None:
        self._say = out if callable(out) else partial(_write, out)
        self._every_s = every_s
        self._step = ""
        self._last = 0.0
        self._complete = False

    def update(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        fresh = step != self._step
        ended = done >= total and not self._complete
        if not fresh and not ended and now - self._last < self._every_s:
            return
        self._step, self._last, self._complete = step, now, done >= total
        self._say(f"{step}: {megabytes(done)} of {megabytes(total)}")


def _write(out: TextIO, line: str) -> None:
    out.write(f"{line}\n")
    out.flush()


class BarProgress:
    """One bar per step on a terminal."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks = {task.description: task.id for task in bars.tasks}

    def update(self, step: str, done: int, total: int) -> None:
        if step not in self._tasks:
            self._tasks[step] = self._bars.add_task(step, total=total)
        self._bars.update(self._tasks[step], completed=min(done, total), total=total)


@contextlib.contextmanager
def console_progress(say: Callable[[str], None] | None = None) -> Iterator[Progress]:
    """Bars when standard error is a terminal, lines otherwise. say: takes each line instead."""
    if say is not None:
        yield LineProgress(say)
        return
    if not sys.stderr.isatty():
        yield LineProgress(sys.stderr)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield BarProgress(bars)


class Silent:
    def update(self, step: str, done: int, total: int) -> None:
        """Nobody is waiting."""


def megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
