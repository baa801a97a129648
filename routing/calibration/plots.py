"""Charts as inline SVG: no script, no style but classes of the page, a title for every mark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from routing.calibration.markup import Markup, element

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 58, 16, 16, 46


@dataclass(frozen=True)
class Axis:
    """low < high in data units. percent: ticks are shares."""

    label: str
    low: float
    high: float
    percent: bool = False

    def ticks(self) -> list[float]:
        step = _nice((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [step * i for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def shown(self, value: float) -> str:
        return f"{100 * value:.4g} %" if self.percent else f"{value:,.4g}"


@dataclass(frozen=True)
class Mark:
    """A point. low, high: its interval, drawn as a line. label: beside it. kind: a class."""

    x: float
    y: float
    title: str
    kind: str = "dot"
    label: str | None = None
    low: float | None = None
    high: float | None = None


def around(values: Sequence[float], label: str, *, percent: bool = False) -> Axis:
    """An axis with a little room on both sides of the values."""
    low, high = min(values), max(values)
    room = (high - low) * 0.06 or (abs(high) * 0.1 or 1.0)
    low, high = low - room, high + room
    if percent:
        low, high = max(0.0, low), min(1.0, high)
    return Axis(label, low if min(values) < 0 else max(0.0, low), high, percent)


def chart(
    title: str,
    x: Axis,
    y: Axis,
    marks: Sequence[Mark],
    line: Sequence[tuple[float, float]] = (),
    diagonal: bool = False,
) -> Markup:
    """Points with intervals, over a line or the diagonal."""
    place = _Place(x, y)
    drawn: list[Markup] = [*_axes(x, y, place)]
    if diagonal:
        low, high = max(x.low, y.low), min(x.high, y.high)
        drawn.append(_line(place, (low, low), (high, high), "guide"))
    drawn += [_line(place, a, b, "curve") for a, b in pairwise(line)]
    for mark in marks:
        drawn += _mark(mark, place)
    return _svg(title, drawn, WIDTH, HEIGHT)


def heat_map(
    title: str, cells: Sequence[tuple[int, int, float, str]], chosen: tuple[int, int]
) -> Markup:
    """cells: (column, row, value, title), columns from 0, rows from 1 upwards. chosen: outlined."""
    columns = max(cell[0] for cell in cells) + 1
    rows = max(cell[1] for cell in cells)
    size = max(7.0, min(22.0, 560 / columns))
    values = sorted(cell[2] for cell in cells)
    # The lowest values differ most and matter least: the scale begins at the tenth percentile.
    low, high = values[len(values) // 10], values[-1]
    drawn = []
    for column, row, value, words in cells:
        shade = 1.0 if high <= low else min(1.0, max(0.0, (value - low) / (high - low)))
        kind = "cell chosen" if (column, row) == chosen else "cell"
        drawn.append(
            element(
                "rect",
                element("title", words),
                class_=kind,
                x=LEFT + column * size,
                y=TOP + (rows - row) * size,
                width=size - 1,
                height=size - 1,
                fill_opacity=0.06 + 0.94 * shade**2,
            )
        )
    every = max(1, math.ceil(26 / size))
    foot = TOP + rows * size
    drawn += [
        element("text", str(column), class_="tick", x=LEFT + (column + 0.5) * size, y=foot + 14,
                text_anchor="middle")
        for column in range(0, columns, every)
    ]  # fmt: skip
    drawn += [
        element("text", str(row), class_="tick", x=LEFT - 6, y=TOP + (rows - row + 0.5) * size + 4,
                text_anchor="end")
        for row in range(1, rows + 1, every)
    ]  # fmt: skip
    width, height = LEFT + columns * size + RIGHT, foot + BOTTOM
    drawn += _labels("votes to win (m)", "paths (k)", width, height)
    return _svg(title, drawn, width, height)


def _mark(mark: Mark, place: "_Place") -> list[Markup]:
    drawn = []
    px, py = place.at(mark.x, mark.y)
    if mark.low is not None and mark.high is not None:
        drawn.append(_line(place, (mark.x, mark.low), (mark.x, mark.high), f"interval {mark.kind}"))
    drawn.append(
        element(
            "circle",
            element("title", mark.title),
            class_=mark.kind,
            cx=px,
            cy=py,
            r=2.5 if mark.kind == "dot" else 5,
        )
    )
    if mark.label is not None:
        left = px > WIDTH * 0.72
        drawn.append(
            element("text", mark.label, class_="label", x=px - 9 if left else px + 9, y=py - 7,
                    text_anchor="end" if left else "start")
        )  # fmt: skip
    return drawn


@dataclass(frozen=True)
class _Place:
    x: Axis
    y: Axis

    def at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self.x.low) / (self.x.high - self.x.low)
        up = (y - self.y.low) / (self.y.high - self.y.low)
        return (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - min(1.0, max(0.0, up)) * (HEIGHT - TOP - BOTTOM),
        )


def _axes(x: Axis, y: Axis, place: _Place) -> list[Markup]:
    drawn = []
    for tick in x.ticks():
        px, _ = place.at(tick, y.low)
        drawn.append(_line(place, (tick, y.low), (tick, y.high), "grid"))
        drawn.append(
            element("text", x.shown(tick), class_="tick", x=px, y=HEIGHT - BOTTOM + 16,
                    text_anchor="middle")
        )  # fmt: skip
    for tick in y.ticks():
        _, py = place.at(x.low, tick)
        drawn.append(_line(place, (x.low, tick), (x.high, tick), "grid"))
        drawn.append(
            element("text", y.shown(tick), class_="tick", x=LEFT - 6, y=py + 4, text_anchor="end")
        )
    return [*drawn, *_labels(x.label, y.label, WIDTH, HEIGHT)]


def _labels(across: str, up: str, width: float, height: float) -> list[Markup]:
    middle = (TOP + height - BOTTOM) / 2
    return [
        element("text", across, class_="axis", x=(LEFT + width - RIGHT) / 2, y=height - 8,
                text_anchor="middle"),
        element("text", up, class_="axis", x=13, y=middle, text_anchor="middle",
                transform=f"rotate(-90 13 {middle:.5g})"),
    ]  # fmt: skip


def _line(place: _Place, start: tuple[float, float], end: tuple[float, float], kind: str) -> Markup:
    (x1, y1), (x2, y2) = place.at(*start), place.at(*end)
    return element("line", class_=kind, x1=x1, y1=y1, x2=x2, y2=y2)


def _svg(title: str, drawn: Sequence[Markup], width: float, height: float) -> Markup:
    return element(
        "svg",
        element("title", title),
        *drawn,
        viewBox=f"0 0 {width:.5g} {height:.5g}",
        role="img",
        aria_label=title,
        style=f"max-width:{width:.5g}px",
    )


def _nice(step: float) -> float:
    """1, 2 or 5 times a power of ten, at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step * (1 - 1e-9))
