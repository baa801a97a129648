"""What an operator may set of the engine. Sizes are chosen by the engine where None."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DType = Literal["auto", "bfloat16", "float32"]
Kernels = Literal["auto", "off"]
Weights = Literal["auto", "int8"]


@dataclass(frozen=True)
class EngineConfig:
    """
    dtype: of weights and KV; "auto" is bfloat16 where the device computes in it, else float32.
    max_rows: paths that decode together. context: longest prompt plus answer, in tokens; None is
    the model's own. kv_bytes: device memory for KV pages; None is a share of what is free.
    page_size: tokens of one page. prefill_chunk: most prompt tokens of one step. busy_chunk: the
    same where paths decode in the step too, so that their tokens keep coming.
    compilation_cache: folder that keeps compiled programs between starts; None keeps none.
    kernels: "auto" compiles CPU kernels with the machine's C++ compiler where there is one.
    weights: "auto" keeps them in dtype; "int8" asks for kernels and keeps them in eight bits
    with a scale for every 32, where the CPU has AVX-512 VNNI and the kernels can be had.
    kernel_cache: folder that keeps them; None is the user's cache folder.
    """

    dtype: DType = "auto"
    max_rows: int = 32
    context: int | None = None
    kv_bytes: int | None = None
    page_size: int = 32
    prefill_chunk: int = 256
    busy_chunk: int = 64
    compilation_cache: Path | None = None
    kernels: Kernels = "off"
    kernel_cache: Path | None = None
    weights: Weights = "auto"

    def __post_init__(self) -> None:
        if not 1 <= self.max_rows <= 1024:
            raise ValueError("max_rows must be in [1, 1024]")
        if self.page_size < 1 or self.page_size & (self.page_size - 1):
            raise ValueError("page_size must be a power of two")
        if not 16 <= self.prefill_chunk <= 8192:
            raise ValueError("prefill_chunk must be in [16, 8192]")
        if not 16 <= self.busy_chunk <= 8192:
            raise ValueError("busy_chunk must be in [16, 8192]")
        if self.context is not None and self.context < 2:
            raise ValueError("context must be at least 2 tokens")
