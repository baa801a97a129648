"""How far a recording is: a bar with time left and spend on a terminal, lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from service.evaluation.recording import Progress

LINE_EVERY_S = 10.0

Report = Callable[[Progress], None]


@contextmanager
def recording_progress(out: TextIO | None = None) -> Iterator[Report]:
    """Writes to standard error, so that results can be piped."""
    out = out or sys.stderr
    console = Console(file=out)
    if not console.is_terminal:
        yield _Lines(out)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[spend]}", style="dim"),
    )
    with Bars(*columns, console=console) as bars:
        yield _Bar(bars)


class _Spend:
    """Tokens so far, and how fast they come."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def text(self, progress: Progress) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        return f"{progress.tokens:,} tokens, {progress.tokens / seconds:,.0f}/s"

    def seconds(self) -> float:
        return time.monotonic() - self._began


class _Bar:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._spend = _Spend()
        self._task = bars.add_task("questions", total=None, spend="")

    def __call__(self, progress: Progress) -> None:
        self._bars.update(
            self._task,
            completed=progress.done,
            total=progress.total,
            spend=self._spend.text(progress),
        )


class _Lines:
    """The first, the last, and one every few seconds."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._spend = _Spend()
        self._first: int | None = None
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        fresh = self._first is None
        if self._first is None:
            self._first = progress.done
        if not fresh and progress.done < progress.total and now - self._last < LINE_EVERY_S:
            return
        self._last = now
        self._out.write(
            f"{progress.done} of {progress.total} questions, {self._spend.text(progress)}"
            f"{self._left(progress)}\n"
        )
        self._out.flush()

    def _left(self, progress: Progress) -> str:
        done = progress.done - (self._first or 0)
        if done == 0 or progress.done == progress.total:
            return ""
        left = self._spend.seconds() / done * (progress.total - progress.done)
        minutes, seconds = divmod(round(left), 60)
        return f", about {minutes} min {seconds:02d} s left"
