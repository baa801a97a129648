"""The seam of `model.nn.attention.attend`, filled by the compiled kernel: one call a layer."""

import jax
import jax.numpy as jnp

from model.kernels.attention import attention
from model.nn.attention import attend
from model.nn.batch import Batch
from model.nn.cache import LayerCache
from model.nn.params import LayerParams
from model.spec import LayerSpec, ModelSpec


def attend_compiled(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: LayerParams,
    pages: LayerCache,
    qkv: jax.Array,
    batch: Batch,
    rope: tuple[jax.Array, jax.Array],
    dtype: jnp.dtype,
) -> tuple[jax.Array, LayerCache]:
    """As `model.nn.attention.attend`, which takes steps that read images: the kernel is causal.
    Tokens of padding are left unwritten."""
    if batch.sees is not None:
        return attend(spec, layer, weights, pages, qkv, batch, rope, dtype)
    norms = None
    if weights.q_norm is not None and weights.k_norm is not None:
        norms = weights.q_norm, weights.k_norm
    mixed, *updated = attention(
        qkv,
        pages,
        rope,
        batch.tables[spec.windows.index(layer.window)],
        batch.owner,
        batch.positions,
        bias=weights.qkv_bias,
        norms=norms,
        scale=spec.attn_scale,
        eps=spec.norm_eps,
        window=layer.window,
        dtype=dtype,
    )
    return mixed, LayerCache(*updated)
