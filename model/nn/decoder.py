"""The one decoder: every family is this function with another `ModelSpec`.

Matrix products go through `model.nn.products`, whichever format the weights are in; attention
through a function with the signature of `model.nn.attention.attend`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from model.nn import products
from model.nn.batch import Batch
from model.nn.cache import Cache, LayerCache
from model.nn.ops import rope_tables
from model.nn.params import LayerParams, Params
from model.spec import LayerSpec, ModelSpec

Attend = Callable[..., tuple[jax.Array, LayerCache]]


def decode(
    spec: ModelSpec,
    attend: Attend,
    dtype: jnp.dtype,
    params: Params,
    cache: Cache,
    tokens: jax.Array,
    batch: Batch,
) -> tuple[jax.Array, Cache]:
    """Runs all layers over new tokens [T], whose KV it writes into the pages.

    dtype: of queries, keys and values. Returns the residual stream [T, D] float32 and the cache.
    """
    live = batch.positions
    x = products.embed(params.embed, tokens, live, spec.d_model, spec.embed_scale)
    ropes = {layer.rope: rope_tables(layer.rope, layer.head_dim, live) for layer in spec.layers}
    updated = []
    for layer, weights, pages in zip(spec.layers, params.layers, cache, strict=True):
        rope = ropes[layer.rope]
        x, pages = _layer(spec, layer, attend, dtype, weights, pages, x, batch, rope)
        updated.append(pages)
    return x, tuple(updated)


def head_logits(spec: ModelSpec, params: Params, x: jax.Array, live: jax.Array) -> jax.Array:
    """Logits [R, V] float32 of rows of the residual stream [R, D]."""
    return products.logits(x, params.head, spec.vocab_size, live, params.final_norm, spec.norm_eps)


# Traced once for all layers that are alike; the compiler inlines it.
@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _layer(
    spec: ModelSpec,
    layer: LayerSpec,
    attend: Attend,
    dtype: jnp.dtype,
    weights: LayerParams,
    pages: LayerCache,
    x: jax.Array,
    batch: Batch,
    rope: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, LayerCache]:
    """x: [T, D] float32, the residual stream."""
    G, R, K = layer.kv_heads, layer.queries_per_kv, layer.head_dim
    project = partial(products.project, live=batch.positions, eps=spec.norm_eps)
    qkv = project(x, weights.qkv, G * (R + 2) * K, norm=weights.attn_norm)
    qkv = qkv.reshape(-1, G, R + 2, K)
    mixed, pages = attend(spec, layer, weights, pages, qkv, batch, rope, dtype)
    mixed = mixed.reshape(-1, G * R * K)
    x = project(mixed, weights.o, spec.d_model, post_norm=weights.post_attn_norm, residual=x)
    hidden = project(
        x, weights.gate_up, layer.d_ff, norm=weights.mlp_norm, activation=spec.activation
    )
    x = project(hidden, weights.down, spec.d_model, post_norm=weights.post_mlp_norm, residual=x)
    return x, pages
