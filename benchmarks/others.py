"""How busy other processes keep this machine: a figure taken beside them is worth less."""

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_LOOK_S = 0.5


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far: of the whole machine, and of the benchmark with its systems."""

    at: float
    machine: float
    ours: float


def usage(pids: Sequence[int] = ()) -> Usage | None:
    """pids: of running children; those that ended are counted anyway. None where not known."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq = (int(part) for part in line.split()[1:8])
    times = os.times()
    ours = times.user + times.system + times.children_user + times.children_system
    ours += sum(_seconds_of(pid) for pid in pids)
    busy = (user + nice + system + irq + softirq) / _TICKS
    return Usage(time.perf_counter(), busy, ours)


def other_cores(before: Usage | None, after: Usage | None) -> float | None:
    """Cores that other processes kept busy between two looks."""
    if before is None or after is None or after.at <= before.at:
        return None
    other = (after.machine - before.machine) - (after.ours - before.ours)
    return max(0.0, other / (after.at - before.at))


def wait_for_quiet(limit: float, most: float, pids: Sequence[int]) -> None:
    """Until others keep at most `most` cores busy, for `limit` seconds at the longest."""
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = usage(pids)
        time.sleep(_LOOK_S)
        now = other_cores(before, usage(pids))
        if now is None or now <= most:
            return


def _seconds_of(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError, ValueError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _TICKS
    return 0.0
