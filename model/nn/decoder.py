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
from model.nn.experts import mix_experts
from model.nn.layer_inputs import add_input, layer_inputs
from model.nn.ops import rms_norm, rope_tables
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
    soft: tuple[jax.Array, jax.Array] | None = None,
) -> tuple[jax.Array, Cache]:
    """Runs all layers over new tokens [T], whose KV it writes into the pages.

    dtype: of queries, keys and values. soft: (rows [N, D], which of them stands in place of a
    token's embedding [T] int32, or -1). Returns the residual stream [T, D] float32 and the cache.
    """
    live = batch.positions
    x = products.embed(params.embed, tokens, live, spec.d_model, spec.embed_scale)
    if soft is not None:
        rows, which = soft
        x = jnp.where(which[:, None] >= 0, rows[jnp.maximum(which, 0)].astype(x.dtype), x)
    inputs = layer_inputs(spec, params, tokens, x, live)
    kinds = {(layer.rope, layer.head_dim) for layer in spec.layers}
    ropes = {kind: rope_tables(*kind, live) for kind in kinds}
    kept = list(cache)
    for index, (layer, weights) in enumerate(zip(spec.layers, params.layers, strict=True)):
        rope = ropes[layer.rope, layer.head_dim]
        told = None if inputs is None else inputs[:, index]
        at = spec.kv_index[index]
        x, kept[at] = _layer(spec, layer, attend, dtype, weights, kept[at], x, batch, rope, told)
    return x, tuple(kept)


def head_logits(spec: ModelSpec, params: Params, x: jax.Array, live: jax.Array) -> jax.Array:
    """Logits [R, V] float32 of rows of the residual stream [R, D]."""
    return products.logits(
        x, params.head, spec.vocab_size, live, params.final_norm, spec.norm_eps, spec.logit_cap
    )


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
    told: jax.Array | None,
) -> tuple[jax.Array, LayerCache]:
    """x: [T, D] float32, the residual stream. told: [T, P], the layer's own inputs, if any."""
    G, R, K, D = layer.kv_heads, layer.queries_per_kv, layer.head_dim, spec.d_model
    live = batch.positions
    project = partial(products.project, live=live, eps=spec.norm_eps)
    qkv = project(x, weights.qkv, G * layer.projected * K, norm=weights.attn_norm)
    qkv = qkv.reshape(-1, G, layer.projected, K)
    mixed, pages = attend(spec, layer, weights, pages, qkv, batch, rope, dtype)
    mixed = mixed.reshape(-1, G * R * K)
    x = project(mixed, weights.o, D, post_norm=weights.post_attn_norm, residual=x)
    hidden = project(
        x, weights.gate_up, layer.d_ff, norm=weights.mlp_norm, activation=spec.activation
    )
    if layer.experts is None:
        x = project(hidden, weights.down, D, post_norm=weights.post_mlp_norm, residual=x)
    else:
        dense = project(hidden, weights.down, D, post_norm=weights.dense_post_norm)
        chosen = mix_experts(spec, layer.experts, weights, x, live)
        assert weights.post_mlp_norm is not None
        x = x + rms_norm(dense + chosen, weights.post_mlp_norm, spec.norm_eps)
    if told is not None:
        x = add_input(spec, weights, x, told, live)
    if weights.layer_scale is not None:
        x = x * weights.layer_scale
    return x, pages
