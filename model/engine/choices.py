"""What the engine settles for itself where an operator says "auto", before anything is loaded."""

from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp

from model.checkpoints.base import Checkpoint
from model.engine.config import EngineConfig, Kv
from model.engine.device import cpu_multiplies_bytes, resolve_dtype
from model.kernels.build import CannotBuild, find_compiler
from model.spec import ModelSpec

Format = Literal["dense", "as kept", "int8", "int4"]

_DENSE_NAMES = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Choices:
    """dtype: of activations and KV, and of weights that are not packed. weights: "as kept"
    is packed in four bits where the file has no more, in eight elsewhere. kernels: the compiled CPU
    kernels are to be used, if they can be had. max_rows, busy_chunk, kv: see EngineConfig."""

    dtype: jnp.dtype
    weights: Format
    kernels: bool
    max_rows: int
    busy_chunk: int
    kv: Kv

    def without_kernels(self) -> "Choices":
        """What is left to do when they could not be built after all."""
        return replace(self, weights="dense", kernels=False)

    @property
    def name(self) -> str:
        """For people, and for telling workers apart that would compute other tokens."""
        parts = [str(self.dtype)]
        if self.weights != "dense":
            parts.append(f"weights {self.weights}")
        if self.kv != "auto":
            parts.append(f"KV {self.kv}")
        return ", ".join(parts)


def choose(config: EngineConfig, checkpoint: Checkpoint) -> Choices:
    """Never builds or loads anything, so that a worker can say at once what it will be."""
    on_cpu = jax.default_backend() == "cpu"
    kernels = on_cpu and config.kernels == "auto" and config.tensor_parallel == 1
    weights: Format = "dense"
    if kernels and _can_build() and cpu_multiplies_bytes() and packable(checkpoint.spec):
        if config.weights in ("int8", "int4"):
            weights = config.weights
        elif config.weights == "auto" and checkpoint.quantization not in _DENSE_NAMES:
            weights = "as kept"
    return Choices(
        dtype=resolve_dtype(config.dtype),
        weights=weights,
        kernels=kernels,
        max_rows=config.max_rows or _rows(on_cpu, weights),
        # On a CPU one row and 32 prompt tokens take less than three times as long as one row.
        busy_chunk=config.busy_chunk or (32 if on_cpu else config.prefill_chunk),
        kv=config.kv,
    )


def packable(spec: ModelSpec) -> bool:
    """Whether the compiled kernels have all of its products: they have none over experts."""
    return all(layer.experts is None for layer in spec.layers)


def _rows(on_cpu: bool, weights: Format) -> int:
    """On a CPU every row costs time; where padding rows cost none, there is room for more than one
    question's paths."""
    if not on_cpu:
        return 128
    return 32 if weights == "dense" else 64


def _can_build() -> bool:
    try:
        find_compiler()
    except CannotBuild:
        return False
    return True
