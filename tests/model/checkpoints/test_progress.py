"""Progress for people and for logs."""

import io

import pytest
from rich.progress import Progress as Bars

from model.checkpoints.progress import BarProgress, LineProgress, console_progress, megabytes


def test_lines_come_at_a_step_s_start_and_end() -> None:
    out = io.StringIO()
    progress = LineProgress(out, every_s=1e9)
    for done in (0, 10_000_000, 50_000_000, 93_000_000, 93_000_000):
        progress.update("fetching m", done, 93_000_000)
    progress.update("unpacking m", 1_000_000, 98_000_000)

    assert out.getvalue().splitlines() == [
        "fetching m: 0 kB of 93 MB",
        "fetching m: 93 MB of 93 MB",
        "unpacking m: 1 MB of 98 MB",
    ]


def test_lines_come_again_after_their_interval() -> None:
    out = io.StringIO()
    progress = LineProgress(out, every_s=0)
    for done in (0, 1_000_000, 2_000_000):
        progress.update("fetching m", done, 93_000_000)
    assert len(out.getvalue().splitlines()) == 3


def test_bars_are_one_per_step_and_never_overfull() -> None:
    with Bars(disable=True) as bars:
        progress = BarProgress(bars)
        progress.update("fetching m", 5, 10)
        progress.update("fetching m", 12, 10)
        progress.update("unpacking m", 3, 10)
        assert [(task.description, task.completed) for task in bars.tasks] == [
            ("fetching m", 10),
            ("unpacking m", 3),
        ]


def test_without_a_terminal_standard_error_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with console_progress() as progress:
        progress.update("fetching m", 0, 10_000_000)
    captured = capsys.readouterr()
    assert captured.err == "fetching m: 0 kB of 10 MB\n"
    assert captured.out == ""


def test_sizes_are_decimal() -> None:
    assert megabytes(98_362_432) == "98 MB"
    assert megabytes(28_376) == "28 kB"
