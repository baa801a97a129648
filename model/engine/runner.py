"""Plans on the device: parameters, pages, compiled steps."""

import ctypes
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.engine.batch import empty_arrays, fill_arrays
from model.engine.compilations import compilations
from model.engine.config import EngineConfig
from model.engine.host import host_memory
from model.engine.memory import MemoryPlan, plan_memory
from model.engine.pages import PageCopy
from model.engine.plan import RowResult, StepPlan
from model.engine.resampling import Resampled, Resampler
from model.engine.sampling import Sampled
from model.engine.shapes import StepShape, StepShapes
from model.engine.step import copy_pages, step, zero_cache
from model.engine.wishes import WishFiller
from model.kernels.library import load_kernels, multiplies_bytes
from model.kernels.packed import PackedParams, load_packed
from model.nn.attention import storage_dtype
from model.nn.params import Params, load_params

Progress = Callable[[str, float | None], None]
"""Told what is being done, and how far it is (0 to 1) where that is known."""

_MOST_CPU_KV_BYTES = 2 * 2**30


class JaxRunner:
    """Holds the model on the default device and runs planned steps over it.

    Construction loads weights; `warm_up` compiles every shape. Not thread-safe.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        config: EngineConfig,
        context: int,
        progress: Progress = lambda detail, fraction: None,
    ) -> None:
        self._spec = checkpoint.spec
        self._config = config
        self.dtype = resolve_dtype(config.dtype)
        wanted = config.kernels == "auto" or config.weights == "int8"
        library = load_kernels(config.kernel_cache) if wanted else None
        packed = config.weights == "int8" and multiplies_bytes(library)
        self.shapes = StepShapes.of(config, context, packed)
        self.compilations_after_warmup = 0
        self._compiled: int | None = None
        self._table_width = -(-context // config.page_size)
        self._copies = max(4, config.max_rows)
        precision = "highest" if self.dtype == jnp.float32 else "default"
        with jax.default_matmul_precision(precision):
            run = partial(step, self._spec, compiled=library is not None)
            self._step = jax.jit(run, donate_argnums=(1,))
        self._precision = precision
        vocab, eos = self._spec.vocab_size, checkpoint.text.eos
        self._wishes = WishFiller(vocab, eos)
        self._resampler = Resampler(vocab, eos, compiled=library is not None)
        self._copy = jax.jit(partial(copy_pages, self._spec), donate_argnums=(0,))
        progress("loading weights", 0.0)
        self._params = _load(
            checkpoint,
            self.dtype,
            library if packed else None,
            lambda done: progress("loading weights", done),
        )
        platform = jax.default_backend()
        storage = storage_dtype(self.dtype, platform)
        budget, most = (config.kv_bytes, None) if config.kv_bytes else default_kv_bytes()
        self.memory: MemoryPlan = plan_memory(
            self._spec, config, context, storage.itemsize, budget, most
        )
        counts = tuple(pages + 1 for pages in self.memory.pages)
        self._cache = zero_cache(self._spec, counts, config.page_size, storage)

    def warm_up(self, progress: Progress = lambda detail, fraction: None) -> None:
        """Compiles and runs every shape once, on padding."""
        shapes = self.shapes.all
        for index, shape in enumerate(shapes):
            progress(f"compiling step {index + 1} of {len(shapes)} ({shape})", index / len(shapes))
            self._run_arrays(shape, None)
        self._copy_pages([])
        for layer in self._cache:
            layer.k.block_until_ready()
        self._compiled = compilations()

    def run(self, plan: StepPlan) -> list[RowResult]:
        if plan.copies:
            self._copy_pages(plan.copies)
        shape = self.shapes.pick(
            plan.decode,
            len(plan.chunks),
            max(chunk.count for chunk in plan.chunks),
            len(plan.outputs),
        )
        sampled = self._run_arrays(shape, plan)
        if self._compiled is not None:
            self.compilations_after_warmup = compilations() - self._compiled
        if sampled is None:
            return []
        tokens, logprobs = np.asarray(sampled.token), _finite(sampled.logprob)
        tops = _alternatives(sampled, plan)
        return [
            RowResult(int(tokens[i]), float(logprobs[i]), tops[i]) for i in range(len(plan.outputs))
        ]

    def _run_arrays(self, shape: StepShape, plan: StepPlan | None) -> Sampled | Resampled | None:
        """Without a plan: on padding, and everything that a step of this shape may run."""
        kinds = len(self._spec.windows)
        if plan is None:
            arrays = empty_arrays(shape, kinds, self._table_width)
        else:
            arrays = fill_arrays(plan, shape, kinds, self._table_width)
        with jax.default_matmul_precision(self._precision):
            self._cache, found = self._step(self._params, self._cache, arrays)
        if found is None:
            return None
        logits, sampled = found
        if plan is None:
            self._resampler.warm_up(logits, arrays.rows, sampled)
            return None
        wishes = self._wishes.fill(plan.outputs, arrays.rows.position)
        if wishes is None:
            return sampled
        inputs = arrays.tokens.reshape(-1)[arrays.select]
        return self._resampler(logits, arrays.rows, sampled, wishes, inputs)

    def _copy_pages(self, copies: list[PageCopy]) -> None:
        for first in range(0, max(1, len(copies)), self._copies):
            part = copies[first : first + self._copies]
            arrays = []
            for kind in range(len(self._spec.windows)):
                pairs = np.zeros((2, self._copies), np.int32)
                for at, copy in enumerate(c for c in part if c.kind == kind):
                    pairs[:, at] = copy.source, copy.target
                arrays.append((pairs[0], pairs[1]))
            self._cache = self._copy(self._cache, tuple(arrays))


def _alternatives(
    sampled: Sampled | Resampled, plan: StepPlan
) -> list[tuple[tuple[int, float], ...]]:
    wanted = [
        output.trunk.alternatives
        if output.path is None and output.trunk is not None
        else (output.path.request.sampling.logprobs or 0 if output.path else 0)
        for output in plan.outputs
    ]
    if not isinstance(sampled, Resampled) or not any(wanted):
        return [()] * len(wanted)
    ids, logprobs = np.asarray(sampled.top_ids), _finite(sampled.top_logprobs)
    return [
        tuple((int(i), float(p)) for i, p in zip(ids[row, :n], logprobs[row, :n], strict=True))
        for row, n in enumerate(wanted)
    ]


def _load(
    checkpoint: Checkpoint,
    dtype: jnp.dtype,
    packing: ctypes.CDLL | None,
    progress: Callable[[float], None],
) -> Params | PackedParams:
    if packing is not None:
        return load_packed(packing, checkpoint, progress)
    return load_params(checkpoint, dtype, progress)


def _finite(logprobs: jax.Array) -> np.ndarray:
    """JSON has no infinities: what cannot be is -9999, as other servers say it."""
    return np.nan_to_num(np.asarray(logprobs), nan=-9999.0, posinf=0.0, neginf=-9999.0)


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
