"""What the default device is and has: numbers to compute in, memory for pages."""

from functools import cache

import jax
import jax.numpy as jnp

from model.engine.host import host_memory

_MOST_CPU_KV_BYTES = 2 * 2**30


def resolve_dtype(wanted: str) -> jnp.dtype:
    """auto: bfloat16 where the device computes in it (TPU, GPU, CPUs with such instructions)."""
    if wanted != "auto":
        return jnp.dtype(wanted)
    if jax.default_backend() != "cpu" or _cpu_flags() & {"avx512_bf16", "amx_bf16"}:
        return jnp.dtype(jnp.bfloat16)
    return jnp.dtype(jnp.float32)


def cpu_multiplies_bytes() -> bool:
    """Whether the CPU has the instructions with which weights of few bits pay."""
    return {"avx512_vnni", "avx512bw", "avx512dq", "avx512vl"} <= _cpu_flags()


@cache
def _cpu_flags() -> frozenset[str]:
    try:
        with open("/proc/cpuinfo") as info:
            flags = next((line for line in info if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(flags.split())


def host_kv_bytes() -> tuple[int, int]:
    """Bytes for KV pages where they lie in a host's memory, and the most to take if one sequence
    needs more: an eighth of it, 2 GiB at most, but up to half of it."""
    host = host_memory()
    return min(_MOST_CPU_KV_BYTES, host // 8), host // 2


def free_device_bytes(devices: int) -> int | None:
    """Free memory of the fullest of the first so many accelerators; None on a CPU, and where the
    device does not tell."""
    if jax.default_backend() == "cpu":
        return None
    free = []
    for device in jax.devices()[:devices]:
        stats = device.memory_stats() or {}
        if "bytes_limit" not in stats:
            return None
        free.append(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
    return min(free)
