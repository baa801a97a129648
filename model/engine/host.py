"""How much memory this process may use. Linux control groups count; nothing here needs jax."""

import os
from pathlib import Path

_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)


def host_memory(limits: tuple[Path, ...] = _LIMITS) -> int:
    """Bytes of the machine's memory, or of the container's limit where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for path in limits:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):  # No such group, or the limit is the word "max".
            continue
    return total
