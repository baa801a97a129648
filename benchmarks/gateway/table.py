"""Figures of several systems as one table with ratios, and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.gateway.rows import Figure
from benchmarks.systems.base import Absent

Results = Mapping[str, Sequence[Figure]]
"""By the name of the system; the first is the one that others are compared with."""

AIMS = (
    ("first token, p50 ms", 3.0, True),
    ("chat, 64 streams, tokens/s per core", 20_000.0, False),
)


def show(
    console: Console, title: str, results: Results, absent: Sequence[Absent], failures: list[str]
) -> None:
    names = list(results)
    view = Table(title=title, caption="x: how many times as good as that system Pollux is")
    view.add_column("")
    for name in names:
        view.add_column(name, justify="right")
    for row in _rows(results):
        found = {name: _find(results, name, row) for name in names}
        first = found[names[0]]
        others = (cell(found[name], first) for name in names[1:])
        view.add_row(row, "" if first is None else _number(first.value), *others)
    console.print(view)
    for row, aim, less in AIMS:
        reached = _find(results, names[0], row)
        if reached is not None:
            met = reached.value <= aim if less else reached.value >= aim
            verdict = "met" if met else "missed"
            console.print(f"aim {verdict}: {row} {_number(reached.value)}, aim {aim:g}")
    for name in names:
        for figure in results[name]:
            if figure.note:
                console.print(f"{name}, {figure.row}: {figure.note}", markup=False)
    for system in absent:
        console.print(f"not here: {system.name}; {system.install}", markup=False)
    for failure in failures:
        console.print(f"failed: {failure}", style="bold red", markup=False)


def as_json(results: Results, failures: list[str]) -> Any:
    systems = {
        name: {figure.row: figure.value for figure in figures} for name, figures in results.items()
    }
    return {"systems": systems, "failures": failures}


def _rows(results: Results) -> list[str]:
    """Of all systems, in the order of the first that has each."""
    return list(dict.fromkeys(figure.row for figures in results.values() for figure in figures))


def _find(results: Results, name: str, row: str) -> Figure | None:
    return next((figure for figure in results[name] if figure.row == row), None)


def cell(figure: Figure | None, ours: Figure | None) -> str:
    if figure is None:
        return ""
    if ours is None or not ours.value or not figure.value:
        return _number(figure.value)
    better = figure.value / ours.value if figure.less else ours.value / figure.value
    return f"{_number(figure.value)} {better:.2g}x"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
