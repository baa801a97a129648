"""What a server's process has used so far, as the kernel counts it."""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_MB = 1024


@dataclass(frozen=True)
class Process:
    pid: int

    @classmethod
    def of_this(cls) -> "Process":
        return cls(os.getpid())

    def cpu(self) -> float:
        """Seconds of all its threads; the clock's ticks are 10 ms, so runs last long enough."""
        after_name = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _TICKS

    def memory(self) -> float:
        """Resident MB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / _MB
        return float("nan")
