"""The decoder over packed weights: `model.nn.decoder` with five compiled calls to a layer."""

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels import ops
from model.kernels.packed import PackedLayer, PackedParams
from model.nn.decoder import Cache, LayerCache
from model.nn.ops import rope_tables
from model.spec import LayerSpec, ModelSpec


def decode_packed(
    spec: ModelSpec,
    params: PackedParams,
    cache: Cache,
    tokens: jax.Array,
    positions: jax.Array,
    tables: tuple[jax.Array, ...],
) -> tuple[jax.Array, Cache]:
    """As `model.nn.decoder.decode`, but for the final norm: returns the residual stream
    [B, Q, D] float32, which `head_logits_packed` expects, and the cache."""
    # Families were trained with this factor rounded to bfloat16.
    scale = float(np.asarray(spec.embed_scale, jnp.bfloat16))
    x = ops.embed(tokens, params.embed, spec.d_model, scale)
    ropes = {
        layer.rope: rope_tables(layer.rope, layer.head_dim, positions) for layer in spec.layers
    }
    updated = []
    for layer, weights, pages in zip(spec.layers, params.layers, cache, strict=True):
        table = tables[spec.windows.index(layer.window)]
        x, pages = _layer(spec, layer, weights, pages, x, positions, ropes[layer.rope], table)
        updated.append(pages)
    return x, tuple(updated)


def head_logits_packed(spec: ModelSpec, params: PackedParams, x: jax.Array) -> jax.Array:
    """Logits [R, V] float32 of rows of the residual stream [R, D]."""
    return ops.linear(x, params.head, spec.vocab_size, norm=params.final_norm, eps=spec.norm_eps)


def _layer(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: PackedLayer,
    pages: LayerCache,
    x: jax.Array,
    positions: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    table: jax.Array,
) -> tuple[jax.Array, LayerCache]:
    B, Q, D = x.shape
    G, R, K = layer.kv_heads, layer.queries_per_kv, layer.head_dim
    eps = spec.norm_eps
    norms = None
    if weights.q_norm is not None and weights.k_norm is not None:
        norms = weights.q_norm, weights.k_norm
    qkv = ops.linear(x, weights.qkv, G * (R + 2) * K, norm=weights.attn_norm, eps=eps)
    mixed, k, v = ops.attention(
        qkv.reshape(B, Q, G, R + 2, K),
        pages,
        rope,
        table,
        positions,
        bias=weights.qkv_bias,
        norms=norms,
        scale=spec.attn_scale,
        eps=eps,
        window=layer.window,
        dtype=jnp.dtype(jnp.float32),
    )
    x = ops.linear(
        mixed.reshape(B, Q, G * R * K),
        weights.o,
        D,
        post_norm=weights.post_attn_norm,
        residual=x,
        eps=eps,
    )
    hidden = ops.linear(
        x, weights.gate_up, layer.d_ff, norm=weights.mlp_norm, activation=spec.activation, eps=eps
    )
    x = ops.linear(hidden, weights.down, D, post_norm=weights.post_mlp_norm, residual=x, eps=eps)
    return x, LayerCache(k, v)
