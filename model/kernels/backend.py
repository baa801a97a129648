"""Which attention a platform gets, and how its pages are kept. The one place that decides."""

import logging
from dataclasses import dataclass
from functools import partial

import jax.numpy as jnp
from jax.sharding import Mesh

from model.kernels import pallas_attention
from model.kernels.attend import attend_compiled
from model.kernels.pallas_attend import LANES, attend_pallas
from model.nn.attention import attend
from model.nn.cache import storage_dtype
from model.nn.decoder import Attend
from model.nn.layout import KvLayout
from model.parallel.axes import TENSOR
from model.spec import LayerSpec, ModelSpec

_log = logging.getLogger(__name__)
_ACCELERATOR_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Backend:
    """attend: has the signature of `model.nn.attention.attend`. storage: dtype of the pages."""

    attend: Attend
    storage: jnp.dtype
    layout: KvLayout


def backend_for(
    platform: str,
    spec: ModelSpec,
    dtype: jnp.dtype,
    page_size: int,
    *,
    compiled: bool = False,
    kv_bytes: bool = False,
    mesh: Mesh | None = None,
) -> Backend:
    """platform: "cpu", "gpu" or "tpu". dtype: of queries, keys and values. compiled: the CPU
    kernels are loaded. kv_bytes: keys and values are kept in bytes, which the kernel for TPU does
    not read. mesh: over which the step is cut, if it is."""
    storage = jnp.dtype(jnp.int8) if kv_bytes else storage_dtype(dtype, platform)
    shards = 1 if mesh is None else mesh.shape[TENSOR]
    if platform == "tpu" and not kv_bytes:
        layout = KvLayout(storage.itemsize, LANES, shards)
        if all(_fits(layout, layer, dtype, page_size) for layer in spec.layers):
            return Backend(partial(attend_pallas, mesh=mesh), storage, layout)
    layout = KvLayout(storage.itemsize, 1, shards, scales=kv_bytes)
    if compiled and compiled_attends(spec):
        return Backend(attend_compiled, storage, layout)
    if platform == "cpu":
        if compiled:
            _log.warning(
                "the CPU kernel has no attention like %s's: plain JAX runs it", spec.family
            )
        return Backend(attend, storage, layout)
    return Backend(partial(attend, block_bytes=_ACCELERATOR_BLOCK_BYTES), storage, layout)


def compiled_attends(spec: ModelSpec) -> bool:
    """Whether the compiled CPU kernel has such layers: with keys and values of their own, and no
    norm on the latter."""
    return not spec.v_norm and all(
        layer.kv_source is None and not layer.keys_are_values for layer in spec.layers
    )


def _fits(layout: KvLayout, layer: LayerSpec, dtype: jnp.dtype, page_size: int) -> bool:
    heads = layer.kv_heads
    heads = heads if heads % layout.shards else heads // layout.shards
    return pallas_attention.fits(page_size, layout.width(layer.head_dim), heads, dtype)
