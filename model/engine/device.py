"""What the default device is and has: numbers to compute in, memory for pages."""

import jax
import jax.numpy as jnp

from model.engine.host import host_memory

_MOST_CPU_KV_BYTES = 2 * 2**30


def resolve_dtype(wanted: str) -> jnp.dtype:
    """auto: bfloat16 where the device computes in it (TPU, GPU, CPUs with such instructions)."""
    if wanted != "auto":
        return jnp.dtype(wanted)
    if jax.default_backend() != "cpu" or _cpu_has_bfloat16():
        return jnp.dtype(jnp.bfloat16)
    return jnp.dtype(jnp.float32)


def _cpu_has_bfloat16() -> bool:
    try:
        with open("/proc/cpuinfo") as info:
            flags = next((line for line in info if line.startswith("flags")), "")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def default_kv_bytes() -> tuple[int, int]:
    """Bytes for KV pages when nobody says, and the most to take if one sequence needs more.

    Nine tenths of what an accelerator has free after the weights; an eighth of a host's memory,
    2 GiB at most, but up to half of it.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    limit = stats.get("bytes_limit")
    if jax.default_backend() == "cpu" or limit is None:
        host = host_memory()
        return min(_MOST_CPU_KV_BYTES, host // 8), host // 2
    free = int(0.9 * (limit - stats.get("bytes_in_use", 0)))
    return free, free
