"""The report's charts: what is drawn from a study. How it is drawn is in `plots`."""

import numpy as np

from routing.calibration.markup import Markup, element
from routing.calibration.plots import Axis, Mark, around, chart, heat_map
from routing.calibration.study import Study
from routing.calibration.words import ARM_NAMES, between, percent

_POINTS_SHOWN = 700  # of k and m in a chart; a page with thousands scrolls badly


def costs(study: Study) -> list[Markup]:
    """Against paths, and against tokens where these were recorded."""
    found = [_cost(study, "paths")]
    if np.nanmax(study.sweep.tokens) > 0:
        found.append(_cost(study, "tokens"))
    return found


def _cost(study: Study, unit: str) -> Markup:
    sweep = study.sweep
    cost = sweep.paths if unit == "paths" else sweep.tokens
    cells = _cells(study)
    every = -(-len(cells) // _POINTS_SHOWN)
    marks = [
        Mark(
            float(cost[k, m]),
            float(sweep.accuracy[k, m]),
            f"k = {k}, m = {m}: {percent(sweep.accuracy[k, m])}, {cost[k, m]:,.1f} {unit}",
        )
        for k, m in cells[::every]
    ]
    marks += [
        Mark(
            arm.paths if unit == "paths" else arm.tokens,
            arm.accuracy,
            f"{ARM_NAMES[arm.name]}: {percent(arm.accuracy)} ({between(arm.interval)}), "
            f"{arm.paths if unit == 'paths' else arm.tokens:,.1f} {unit}",
            "arm",
            arm.name,
            arm.interval.low,
            arm.interval.high,
        )
        for arm in study.comparison.arms
        if arm.name in ("greedy", "cot", "majority", "routed")
    ]
    x = around([mark.x for mark in marks], f"expected {unit} per question")
    ends = [end for mark in marks for end in (mark.low, mark.high, mark.y) if end is not None]
    y = around(ends, "right", percent=True)
    return _figure(
        chart(f"Accuracy against {unit}", x, y, marks),
        f"Small dots: settings (k, m), expected over all subsets"
        f"{'' if study.given else ', on the questions that chose'}. Large dots: arms with 95 % "
        "intervals, on the questions that report.",
    )


def settings(study: Study) -> Markup:
    sweep = study.sweep
    cells = [
        (
            m,
            k,
            float(sweep.accuracy[k, m]),
            f"k = {k}, m = {m}: {percent(sweep.accuracy[k, m])} right, "
            f"{sweep.paths[k, m]:.1f} paths, {sweep.tokens[k, m]:,.0f} tokens",
        )
        for k, m in _cells(study)
    ]
    chosen = (study.setting.min_votes, study.setting.k)
    best, worst = float(np.nanmax(sweep.accuracy)), float(np.nanmin(sweep.accuracy))
    return _figure(
        heat_map("Accuracy by paths and votes to win", cells, chosen),
        f"Share right, from {percent(worst)} (pale) to {percent(best)} (full colour); outlined: "
        f"the setting, {study.setting.min_votes} votes of {study.setting.k} paths.",
    )


def reliability(study: Study) -> Markup:
    marks = [
        Mark(
            found.consensus,
            found.accuracy,
            f"consensus {percent(found.consensus)}: {percent(found.accuracy)} right "
            f"({between(found.interval)}), {found.questions} questions",
            "point",
            None,
            found.interval.low,
            found.interval.high,
        )
        for found in study.reliability.bins
    ]
    unit = Axis("majority right", 0.0, 1.0, percent=True)
    return _figure(
        chart("Reliability", Axis("consensus", 0.0, 1.0, percent=True), unit, marks, diagonal=True),
        "Share right of questions with similar consensus. On the dashed line the consensus is a "
        "probability.",
    )


def risk(study: Study) -> Markup:
    found = study.risk_coverage
    levels = list(zip(found.coverage.tolist(), found.risk.tolist(), strict=True))
    marks = [
        Mark(
            coverage,
            level,
            f"consensus at least {percent(consensus)}: {percent(coverage)} of questions, "
            f"{percent(level)} of them wrong",
            "point",
        )
        for (coverage, level), consensus in zip(levels, found.consensus.tolist(), strict=True)
    ]
    y = around([0.0, *found.risk.tolist()], "majority wrong", percent=True)
    x = Axis("coverage: share of questions answered", 0.0, 1.0, percent=True)
    return _figure(
        chart("Risk against coverage", x, y, marks, levels),
        "If only the questions of highest consensus are answered: how many, and how often wrong.",
    )


def _cells(study: Study) -> list[tuple[int, int]]:
    return [(k, m) for k in range(1, study.k_max + 1) for m in range(k + 2)]


def _figure(drawing: Markup, caption: str) -> Markup:
    return element("figure", drawing, element("figcaption", caption))
