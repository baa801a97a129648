"""What a run of a workload gives: figures by name."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SECONDS = "s"
TOTAL_RATE = "tokens/s"
PREFILL_RATE = "prefill tokens/s"
DECODE_RATE = "decode tokens/s"
STEP_MS = "step ms"
FIRST_P50, FIRST_P99 = "first token p50 ms", "first token p99 ms"
GAP_P50, GAP_P99 = "gap p50 ms", "gap p99 ms"
BUSY_GAP_P50, BUSY_GAP_MAX = "gap during prefill p50 ms", "gap during prefill max ms"
SLOWDOWN = "gap during prefill / without"


@dataclass(frozen=True)
class Measurement:
    """figures: by the names above. other_cores: cores that other processes kept busy meanwhile,
    None where the system does not tell. notes: what a reader must know, such as a short answer."""

    figures: Mapping[str, float]
    other_cores: float | None = None
    notes: tuple[str, ...] = field(default=())


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed. values: not empty."""
    ordered = sorted(values)
    at = max(0, -int(-share * len(ordered) // 1) - 1)
    return ordered[min(at, len(ordered) - 1)]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def best(runs: Sequence[Measurement], headline: str) -> Measurement:
    """The run with the best headline: the largest rate, else the smallest time. The last run where
    a system has no such figure."""
    if any(headline not in run.figures for run in runs):
        return runs[-1]
    pick = max if headline.endswith("tokens/s") else min
    return pick(runs, key=lambda run: run.figures[headline])
