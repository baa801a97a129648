"""Results as a table for people and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import measurement as m
from benchmarks import workloads as w
from benchmarks.campaign import QUIET_CORES, Results
from benchmarks.systems.base import Absent, System
from benchmarks.targets import TARGETS

_SHOWN: dict[type, tuple[str, ...]] = {
    w.Prefill: (m.PREFILL_RATE,),
    w.Generate: (m.TOTAL_RATE, m.DECODE_RATE, m.STEP_MS),
    w.FirstTokenUnderLoad: (m.FIRST_P50, m.FIRST_P99),
    w.GapUnderPrefill: (m.SLOWDOWN, m.GAP_P50, m.BUSY_GAP_P50, m.BUSY_GAP_MAX),
}


def show(
    console: Console,
    title: str,
    results: Results,
    systems: Sequence[System],
    absent: Sequence[Absent],
) -> None:
    shown = [s for s in systems if any(name == s.name for _, name in results.runs)]
    console.print(_table(title, results, shown))
    console.print(_targets(results))
    if results.disturbed:
        console.print(
            f"Others kept up to {results.disturbed:.1f} cores busy meanwhile: do not rely on these "
            "figures and ratios. Try again on an idle machine, or with --wait-quiet 120.",
            style="bold red",
        )
    ready = ", ".join(f"{name} {s:.1f} s" for name, s in results.ready.items() if s >= 0.05)
    console.print(f"ready: {ready}")
    for line in _footer(results, absent):
        console.print(line, markup=False)


def as_json(
    title: str, results: Results, systems: Sequence[System], absent: Sequence[Absent]
) -> Any:
    rows = []
    for workload in results.workloads:
        for system in systems:
            runs = results.runs.get((workload.name, system.name))
            if not runs:
                continue
            figures = dict(m.best(runs, workload.headline).figures)
            ratios = {
                name: ratio
                for name in figures
                if (ratio := _ratio(results, workload, system, name)) is not None
            }
            rows.append(
                {
                    "workload": workload.name,
                    "system": system.name,
                    "best": figures,
                    "pollux_times_as_good": ratios,
                    "runs": [asdict(run) for run in runs],
                }
            )
    return {
        "title": title,
        "workloads": [{"kind": type(x).__name__, **asdict(x)} for x in results.workloads],
        "rows": rows,
        "ready_s": results.ready,
        "targets": [
            {
                "name": t.name,
                "target": t.target,
                "stretch": t.stretch,
                "reached": t.reached(results),
            }
            for t in TARGETS
        ],
        "absent": [asdict(system) for system in absent],
        "failures": results.failures,
        "disturbed_cores": results.disturbed,
    }


def _table(title: str, results: Results, systems: Sequence[System]) -> Table:
    view = Table(
        title=title,
        caption="x: how many times as fast as that system Pollux is, served or alone",
    )
    view.add_column("")
    for system in systems:
        view.add_column(system.name, justify="right")
    for workload in results.workloads:
        for name in _SHOWN[type(workload)]:
            cells = [_cell(results, workload, system, name) for system in systems]
            if any(cells):
                view.add_row(f"{workload.name}, {name}", *cells)
        view.add_section()
    return view


def _cell(results: Results, workload: w.Workload, system: System, name: str) -> str:
    value = results.figure(workload, system.name, name)
    if value is None:
        return ""
    ratio = _ratio(results, workload, system, name)
    return _number(value) if ratio is None else f"{_number(value)} {_number(ratio)}x"


def _ratio(results: Results, workload: w.Workload, system: System, name: str) -> float | None:
    """Rates by theirs, times the other way round."""
    theirs = results.figure(workload, system.name, name)
    if system.against is None or not theirs:
        return None
    ours = results.figure(workload, system.against, name)
    if not ours:
        return None
    return ours / theirs if name.endswith("tokens/s") else theirs / ours


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _targets(results: Results) -> Table:
    view = Table(title="Targets")
    view.add_column("")
    for name in ("target", "stretch", "reached", ""):
        view.add_column(name, justify="right")
    for target in TARGETS:
        value = target.reached(results)
        view.add_row(
            target.name,
            f"{target.target:g} {target.unit}",
            f"{target.stretch:g} {target.unit}",
            "not measured" if value is None else f"{_number(value)} {target.unit}",
            "" if value is None else "disturbed" if results.disturbed else target.verdict(value),
        )
    return view


def _footer(results: Results, absent: Sequence[Absent]) -> list[str]:
    lines = [f"not here: {system.name}; {system.install}" for system in absent]
    lines += [f"failed: {failure}" for failure in results.failures]
    for (workload, system), runs in results.runs.items():
        notes = sorted({note for run in runs for note in run.notes})
        lines += [f"{workload}, {system}: {note}" for note in notes]
        least = min((run.other_cores for run in runs if run.other_cores is not None), default=0.0)
        if least > QUIET_CORES:
            lines.append(f"{workload}, {system}: others kept {least:.1f} cores busy in every run")
    return lines
