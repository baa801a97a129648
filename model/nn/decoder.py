"""The one decoder: every family is this function with another `ModelSpec`."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.kernels import ops
from model.nn.attention import paged_attention, write_pages
from model.nn.ops import apply_rope, gated, rms_norm, rope_tables
from model.nn.params import LayerParams, Params
from model.spec import LayerSpec, ModelSpec


class LayerCache(NamedTuple):
    """KV pages of one layer: [P, G, S, K] each, in the storage dtype of the attention; of int8
    pages the float32 scales too, [P, G, S] each."""

    k: jax.Array
    v: jax.Array
    k_scale: jax.Array | None = None
    v_scale: jax.Array | None = None


Cache = tuple[LayerCache, ...]


def decode(
    spec: ModelSpec,
    params: Params,
    cache: Cache,
    tokens: jax.Array,
    positions: jax.Array,
    tables: tuple[jax.Array, ...],
    compiled: bool = False,
) -> tuple[jax.Array, Cache]:
    """Runs all layers over new positions, whose KV it writes into the pages.

    tokens, positions: [B, Q] int32, position -1 is padding. tables: for each layer kind (in the
    order of spec.windows) [B, W] pages. Returns the normed hidden states [B, Q, D] and the cache.
    compiled: attention by the compiled CPU kernel instead of plain JAX.
    The residual stream is float32; matrix products run in the parameters' dtype.
    """
    dtype = params.embed.dtype
    # Rounded to the weights' dtype first, as the families were trained.
    x = params.embed[tokens] * jnp.asarray(spec.embed_scale, dtype)
    x = x.astype(jnp.float32)
    ropes = {
        layer.rope: rope_tables(layer.rope, layer.head_dim, positions) for layer in spec.layers
    }
    page_size = cache[0].k.shape[2]
    slots = tuple(_slots(table, positions, page_size) for table in tables)
    updated = []
    for layer, weights, pages in zip(spec.layers, params.layers, cache, strict=True):
        kind = spec.windows.index(layer.window)
        x, pages = _layer(
            spec,
            layer,
            compiled,
            weights,
            pages,
            x,
            positions,
            ropes[layer.rope],
            tables[kind],
            slots[kind],
        )
        updated.append(pages)
    return rms_norm(x, params.final_norm, spec.norm_eps).astype(dtype), tuple(updated)


def head_logits(params: Params, hidden: jax.Array) -> jax.Array:
    """Logits [R, V] float32 of hidden states [R, D]."""
    return jnp.einsum("RD,VD->RV", hidden, params.head, preferred_element_type=jnp.float32)


def _slots(table: jax.Array, positions: jax.Array, page_size: int) -> tuple[jax.Array, jax.Array]:
    """Where each position is written: (page, offset), both [B, Q]; padding goes to page 0."""
    at = jnp.maximum(positions, 0)
    page = jnp.take_along_axis(table, at // page_size, axis=1)
    return jnp.where(positions < 0, 0, page), at % page_size


# Traced once for all layers that are alike; the compiler inlines it.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _layer(
    spec: ModelSpec,
    layer: LayerSpec,
    compiled: bool,
    weights: LayerParams,
    pages: LayerCache,
    x: jax.Array,
    positions: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    table: jax.Array,
    slots: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, LayerCache]:
    """x: [B, Q, D] float32, the residual stream."""
    dtype = weights.qkv.dtype
    h = rms_norm(x, weights.attn_norm, spec.norm_eps).astype(dtype)
    qkv = jnp.einsum("BQD,DGNK->BQGNK", h, weights.qkv, preferred_element_type=jnp.float32)
    if compiled:
        h, pages = _attend_compiled(spec, layer, weights, pages, qkv, positions, rope, table, dtype)
    else:
        h, pages = _attend(spec, layer, weights, pages, qkv, positions, rope, table, slots)
    h = jnp.einsum("BQGRK,GRKD->BQD", h, weights.o, preferred_element_type=jnp.float32)
    if weights.post_attn_norm is not None:
        h = rms_norm(h, weights.post_attn_norm, spec.norm_eps)
    x = x + h
    h = rms_norm(x, weights.mlp_norm, spec.norm_eps).astype(dtype)
    h = _mlp(spec, weights, h)
    if weights.post_mlp_norm is not None:
        h = rms_norm(h, weights.post_mlp_norm, spec.norm_eps)
    return x + h, pages


def _attend(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: LayerParams,
    pages: LayerCache,
    qkv: jax.Array,
    positions: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    table: jax.Array,
    slots: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, LayerCache]:
    """From the fused projection qkv[B, Q, G, R + 2, K] to the mixed values [B, Q, G, R, K]."""
    B, Q, G, _, K = qkv.shape
    R, dtype = layer.queries_per_kv, weights.qkv.dtype
    if weights.qkv_bias is not None:
        qkv = qkv + weights.qkv_bias
    q, k, v = qkv[:, :, :, :R], qkv[:, :, :, R], qkv[:, :, :, R + 1]
    q = q.reshape(B, Q, G * R, K)
    if weights.q_norm is not None and weights.k_norm is not None:
        q = rms_norm(q, weights.q_norm, spec.norm_eps)
        k = rms_norm(k, weights.k_norm, spec.norm_eps)
    q = apply_rope(q, *rope).astype(dtype)
    k = apply_rope(k, *rope).astype(dtype)
    pages = LayerCache(write_pages(pages.k, k, slots), write_pages(pages.v, v.astype(dtype), slots))
    mixed = paged_attention(
        q, pages.k, pages.v, table, positions, scale=spec.attn_scale, window=layer.window
    )
    return mixed.reshape(B, Q, G, R, K), pages


def _attend_compiled(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: LayerParams,
    pages: LayerCache,
    qkv: jax.Array,
    positions: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    table: jax.Array,
    dtype: jnp.dtype,
) -> tuple[jax.Array, LayerCache]:
    """`_attend` in one call of the compiled kernel."""
    norms = None
    if weights.q_norm is not None and weights.k_norm is not None:
        norms = weights.q_norm, weights.k_norm
    mixed, k, v = ops.attention(
        qkv,
        pages,
        rope,
        table,
        positions,
        bias=weights.qkv_bias,
        norms=norms,
        scale=spec.attn_scale,
        eps=spec.norm_eps,
        window=layer.window,
        dtype=dtype,
    )
    return mixed, LayerCache(k, v)


def _mlp(spec: ModelSpec, weights: LayerParams, h: jax.Array) -> jax.Array:
    hidden = jnp.einsum("BQD,DNF->BQNF", h, weights.gate_up, preferred_element_type=jnp.float32)
    hidden = gated(spec.activation, hidden[:, :, 0], hidden[:, :, 1]).astype(h.dtype)
    return jnp.einsum("BQF,FD->BQD", hidden, weights.down, preferred_element_type=jnp.float32)
