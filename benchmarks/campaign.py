"""Runs workloads on systems, taking turns, and keeps every figure."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.measurement import Measurement, best
from benchmarks.others import other_cores, usage, wait_for_quiet
from benchmarks.systems.base import System, SystemFailed
from benchmarks.workloads import Workload

QUIET_CORES = 0.3
"""Of other processes: with more, a figure is disturbed."""

Say = Callable[[str], None]


@dataclass
class Results:
    """runs: by workload's and system's name. ready: seconds of a system's last start."""

    workloads: Sequence[Workload] = ()
    runs: dict[tuple[str, str], list[Measurement]] = field(default_factory=dict)
    ready: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def best(self, workload: Workload, system: str) -> Measurement | None:
        runs = self.runs.get((workload.name, system))
        return best(runs, workload.headline) if runs else None

    @property
    def disturbed(self) -> float | None:
        """The most cores that others kept busy in even the quietest run of some figure, if that
        is more than a little: no ratio is to be relied on then."""
        quietest = [
            min((run.other_cores for run in runs if run.other_cores is not None), default=0.0)
            for runs in self.runs.values()
        ]
        most = max(quietest, default=0.0)
        return most if most > QUIET_CORES else None

    def figure(self, workload: Workload, system: str, name: str) -> float | None:
        run = self.best(workload, system)
        return None if run is None else run.figures.get(name)


@dataclass
class Campaign:
    """quiet_s: how long to wait, before each run, for other processes to leave the cores.
    minutes: after so many no further workload is begun. repeats: instead of a workload's own."""

    systems: Sequence[System]
    workloads: Sequence[Workload]
    say: Say
    quiet_s: float = 0.0
    minutes: float = 60.0
    repeats: int | None = None

    def run(self) -> Results:
        results = Results(self.workloads)
        end = time.perf_counter() + 60 * self.minutes
        with self._started(results) as running:
            for workload in self.workloads:
                if time.perf_counter() > end:
                    results.failures.append(f"{workload.name}: left out, no time left")
                    continue
                self._take_turns(workload, running, results)
        return results

    @contextlib.contextmanager
    def _started(self, results: Results) -> Iterator[list[System]]:
        """Each system is started alone, and all are stopped at the end."""
        running: list[System] = []
        try:
            for system in self.systems:
                self.say(f"starting {system.name}")
                try:
                    wait_for_quiet(self.quiet_s, QUIET_CORES, _pids(running))
                    results.ready[system.name] = system.start()
                except SystemFailed as error:
                    results.failures.append(f"{system.name} did not start: {error}")
                    system.stop()
                    continue
                self.say(f"{system.name} is ready after {results.ready[system.name]:.1f} s")
                running.append(system)
            yield running
        finally:
            for system in running:
                system.stop()

    def _take_turns(self, workload: Workload, running: list[System], results: Results) -> None:
        able = [system for system in running if system.supports(workload)]
        repeats = self.repeats or workload.repeats
        for turn in range(repeats):
            for system in list(able):
                self.say(f"{workload.name}: {system.name}, run {turn + 1} of {repeats}")
                try:
                    system.prepare(workload)
                    run = self._one(workload, system, _pids(running))
                except SystemFailed as error:
                    results.failures.append(f"{workload.name}: {error}")
                    able.remove(system)
                    continue
                results.runs.setdefault((workload.name, system.name), []).append(run)
                if workload.headline in run.figures:
                    figure = run.figures[workload.headline]
                    self.say(f"  {figure:.4g} {workload.headline}")

    def _one(self, workload: Workload, system: System, pids: list[int]) -> Measurement:
        wait_for_quiet(self.quiet_s, QUIET_CORES, pids)
        before = usage(pids)
        run = system.run(workload)
        others = other_cores(before, usage(pids))
        return Measurement(run.figures, others, run.notes)


def start_again(system: System, results: Results, say: Say) -> None:
    """Once more, from caches that the first start has filled; the seconds replace the first's."""
    say(f"starting {system.name} again, from a warm cache")
    try:
        results.ready[system.name] = system.start()
    except SystemFailed as error:
        results.failures.append(f"{system.name} did not start again: {error}")
    finally:
        system.stop()


def _pids(systems: Sequence[System]) -> list[int]:
    return [pid for system in systems for pid in system.pids()]
