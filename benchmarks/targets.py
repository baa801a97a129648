"""What Pollux means to reach, as ratios, and how far a run got."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks import measurement as m
from benchmarks import workloads as w
from benchmarks.campaign import Results
from benchmarks.systems import engine, llama_programs, llama_server, pollux, products


@dataclass(frozen=True)
class Target:
    """larger: whether more is better. unit: "x" or "s"."""

    name: str
    target: float
    stretch: float
    reached: Callable[[Results], float | None]
    larger: bool = True
    unit: str = "x"

    def verdict(self, value: float) -> str:
        def meets(goal: float) -> bool:
            return value >= goal if self.larger else value <= goal

        return "stretch" if meets(self.stretch) else "target" if meets(self.target) else "below"


def _over(above: float | None, below: float | None) -> float | None:
    return None if above is None or not below else above / below


def _served_paths(results: Results) -> float | None:
    """The peer's better way to sample one prompt that its cache holds: n, or many requests."""
    theirs = [
        results.figure(workload, llama_server.WHEEL, m.TOTAL_RATE)
        for workload in (w.PATHS_SEEN, w.SAME_SEEN)
    ]
    known = [rate for rate in theirs if rate is not None]
    ours = results.figure(w.PATHS_SEEN, pollux.NAME, m.TOTAL_RATE)
    return _over(ours, max(known, default=None))


def _against_programs(workload: w.Workload, figure: str) -> Callable[[Results], float | None]:
    return lambda results: _over(
        results.figure(workload, engine.NAME, figure),
        results.figure(workload, llama_programs.NAME, figure),
    )


TARGETS = (
    Target(
        "32 paths of one prompt, HTTP, against the llama.cpp wheel's server and prompt cache",
        2.2,
        4.0,
        _served_paths,
    ),
    Target(
        "decode of 32 paths, against llama.cpp compiled, which samples nothing",
        1.2,
        2.0,
        _against_programs(w.PATHS, m.DECODE_RATE),
    ),
    Target(
        "prefill, against llama.cpp compiled",
        1.5,
        3.0,
        _against_programs(w.PREFILL, m.PREFILL_RATE),
    ),
    Target(
        "one stream, against llama.cpp compiled",
        0.3,
        1.0,
        _against_programs(w.ONE, m.DECODE_RATE),
    ),
    Target(
        "decode step of 32 rows / its bare matrix products",
        1.6,
        1.2,
        lambda results: _over(
            results.figure(w.PATHS, engine.NAME, m.STEP_MS),
            results.figure(w.PATHS, products.NAME, m.STEP_MS),
        ),
        larger=False,
    ),
    Target(
        "32 paths / one path, wall time, HTTP",
        6.0,
        4.0,
        lambda results: _over(
            results.figure(w.PATHS, pollux.NAME, m.SECONDS),
            results.figure(w.ONE, pollux.NAME, m.SECONDS),
        ),
        larger=False,
    ),
    Target(
        "median gap between tokens while 4K tokens are prefilled / without",
        3.0,
        1.5,
        lambda results: results.figure(w.GAP, pollux.NAME, m.SLOWDOWN),
        larger=False,
    ),
    Target(
        "ready from a warm cache",
        20.0,
        8.0,
        lambda results: results.ready.get(pollux.NAME),
        larger=False,
        unit="s",
    ),
)
