"""What an operator may set of the engine. Sizes are chosen by the engine where None."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

DType = Literal["auto", "bfloat16", "float32"]
Kernels = Literal["auto", "off"]
Kv = Literal["auto", "int8"]
Weights = Literal["auto", "native", "int8", "int4"]


@dataclass(frozen=True)
class EngineConfig:
    """
    dtype: of activations, KV and unpacked weights; "auto" is bfloat16 where the device computes in
    it, else float32. max_rows: paths that decode together; None leaves it to the engine. context:
    longest prompt plus answer, in tokens; None is the model's own. kv_bytes: device memory for KV
    pages; None is a share of what is free. page_size: tokens of one page. prefill_chunk: most
    prompt tokens of one step. busy_chunk: the same where paths decode in the step too, so that
    their tokens keep coming (or twice as many as these, if that is more); None leaves it to the
    engine. prefix_cache: pages of one request serve others that begin alike.
    held_share: of the pages, how many prefixes that are held may take together.
    compilation_cache: folder that keeps compiled programs between starts; None keeps none.
    kernels: "auto" compiles CPU kernels with the machine's C++ compiler where there is one.
    weights: "auto" keeps a quantised file's weights quantised where the CPU has the instructions
    for it (AVX-512 VNNI) and kernels can be had, and everything else in dtype; "int8" and "int4"
    quantise whatever the file holds, in groups of 32; "native" unpacks all into dtype.
    kv: "auto" keeps keys and values in dtype; "int8" in bytes with a scale for each token and head.
    media_cache_bytes: device memory for soft tokens of images, so that one asked about again is not
    encoded again; those that one step reads fit in any case.
    kernel_cache: folder that keeps kernels; None is the user's cache folder. tensor_parallel:
    devices over which each layer is cut.
    """

    dtype: DType = "auto"
    max_rows: int | None = None
    context: int | None = None
    kv_bytes: int | None = None
    page_size: int = 32
    prefill_chunk: int = 256
    busy_chunk: int | None = None
    prefix_cache: bool = True
    held_share: float = 0.5
    media_cache_bytes: int = 128 * 2**20
    compilation_cache: Path | None = None
    kernels: Kernels = "auto"
    kernel_cache: Path | None = None
    weights: Weights = "auto"
    kv: Kv = "auto"
    tensor_parallel: int = 1

    def __post_init__(self) -> None:
        if self.max_rows is not None and not 1 <= self.max_rows <= 1024:
            raise ValueError("max_rows must be in [1, 1024]")
        if self.page_size < 1 or self.page_size & (self.page_size - 1):
            raise ValueError("page_size must be a power of two")
        if not 16 <= self.prefill_chunk <= 8192:
            raise ValueError("prefill_chunk must be in [16, 8192]")
        if self.busy_chunk is not None and not 16 <= self.busy_chunk <= 8192:
            raise ValueError("busy_chunk must be in [16, 8192]")
        if not 0 <= self.held_share <= 1:
            raise ValueError("held_share must be in [0, 1]")
        if self.media_cache_bytes < 0:
            raise ValueError("media_cache_bytes must not be negative")
        if self.tensor_parallel < 1:
            raise ValueError("tensor_parallel must be at least 1")
        if self.context is not None and self.context < 2:
            raise ValueError("context must be at least 2 tokens")
