"""What the benchmark wants of a system under test."""

from dataclasses import dataclass
from typing import Protocol

from benchmarks.measurement import Measurement
from benchmarks.workloads import Workload


class SystemFailed(Exception):
    """A system did not start, or broke during a run. One line."""


class System(Protocol):
    """One way to run the model. Not thread-safe; `start` before `run`, `stop` at the end.

    name: the column's. against: the name of the Pollux column that it is compared with, None for
    those columns themselves.
    """

    name: str
    against: str | None

    def start(self) -> float:
        """Seconds until it answers. Raises SystemFailed."""
        ...

    def supports(self, workload: Workload) -> bool: ...

    def prepare(self, workload: Workload) -> None:
        """What must be done before this workload and is no part of it. Raises SystemFailed."""
        ...

    def run(self, workload: Workload) -> Measurement:
        """Raises SystemFailed."""
        ...

    def pids(self) -> list[int]:
        """Processes that work for it, this one apart."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Absent:
    """A system that cannot run here, and the command that changes that."""

    name: str
    install: str
