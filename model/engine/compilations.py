"""How often the calling thread has made XLA compile. After warm-up that number must stand still."""

import threading
from collections import Counter
from functools import cache
from pathlib import Path

import jax
import jax.monitoring

_EVENT = "/jax/core/compile/backend_compile_duration"


def compilations() -> int:
    """Programs compiled (or fetched from the persistent cache) on this thread so far.

    Counting begins with a thread's first call in this process.
    """
    return _counts()[threading.get_ident()]


def keep_compiled(folder: Path) -> None:
    """Keeps compiled programs in `folder`, so that the next start reads instead of compiling."""
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


@cache
def _counts() -> Counter[int]:
    counts: Counter[int] = Counter()

    def listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _EVENT:
            counts[threading.get_ident()] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    return counts
