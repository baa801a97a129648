"""What the operating system lets a decoding process do: compute, and answer on its pipe."""

import math
import os

try:
    import resource
except ImportError:  # not on Windows, where the gateway's deadline alone holds
    resource = None  # type: ignore[assignment]

FALLBACK_CODE_BYTES = 1 << 30
"""Address space of the code where the system does not tell."""


def confine(memory: int) -> None:
    """Once all code is loaded. memory: bytes beyond that code. From here on no file or socket
    opens, nothing can be written to disk, and no core is dumped."""
    if resource is None:
        return
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_AS, _address_space() + memory)
    _lower(resource.RLIMIT_NOFILE, 3)


def allow_processor(seconds: float) -> None:
    """From now on; then the system ends the process, within native code too."""
    if resource is None:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = math.ceil(used + seconds) + 1
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _lower(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    most = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (most, most))


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return FALLBACK_CODE_BYTES
