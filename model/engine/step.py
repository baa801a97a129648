"""The one compiled program: embed, layers, chosen rows, head, sampling."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from model.engine.arrays import StepArrays
from model.engine.sampling import Sampled, carried, sample
from model.nn.batch import Batch
from model.nn.blocks import QUERY_BLOCK
from model.nn.cache import Cache, LayerCache
from model.nn.decoder import Attend, decode, head_logits
from model.nn.layout import KvLayout
from model.nn.ops import rms_norm
from model.nn.params import Params
from model.spec import ModelSpec


class Chosen(NamedTuple):
    """Of the rows with logits: logits[R, V] float32; inputs[R] int32, the tokens that they follow;
    sampled."""

    logits: jax.Array
    inputs: jax.Array
    sampled: Sampled


def step(
    spec: ModelSpec,
    attend: Attend,
    dtype: jnp.dtype,
    compiled: bool,
    params: Params,
    cache: Cache,
    carry: jax.Array,
    arrays: StepArrays,
    images: jax.Array | None = None,
) -> tuple[Cache, jax.Array, Chosen | None]:
    """One step over a batch; `cache` is meant to be donated. Shapes: see StepArrays.

    carry: [max_rows] int32, the tokens that the step before sampled, so that this one can start
    before the host has seen them. images: the buffer of soft tokens [slots, tokens, D], of steps
    that read any. Returns the cache, this step's carry and what came out. A
    shape without outputs (prefill) has no head and no sampling. compiled: with the compiled CPU
    kernels, which must be loaded.
    """
    rows = arrays.feed.shape[0]
    fed = jnp.where(arrays.feed >= 0, carry[jnp.maximum(arrays.feed, 0)], arrays.tokens[:rows])
    tokens = arrays.tokens.at[:rows].set(fed)
    batch = Batch(arrays.positions, arrays.owner, arrays.tables, rows, arrays.sees)
    soft = None
    if images is not None and arrays.soft is not None:
        soft = images.reshape(-1, spec.d_model), arrays.soft
    x, cache = decode(spec, attend, dtype, params, cache, tokens, batch, soft)
    if not arrays.select.shape[0]:
        return cache, carry, None
    select = jnp.maximum(arrays.select, 0)
    logits = head_logits(spec, params, x[select], arrays.select)
    sampled = sample(logits, arrays.rows, compiled)
    chosen = Chosen(logits, tokens[select], sampled)
    return cache, carried(carry, sampled.token), chosen


def pooled_step(
    spec: ModelSpec,
    attend: Attend,
    dtype: jnp.dtype,
    params: Params,
    cache: Cache,
    arrays: StepArrays,
) -> tuple[Cache, jax.Array]:
    """A step of prompt tokens alone, for their hidden states; `cache` is meant to be donated.

    Returns the cache and, of each block of tokens, the sum of what the final norm makes of the
    last layer's output: [C / 16, D] float32. Nothing else runs the last layer past its keys and
    values for tokens without logits, so this is no part of `step`.
    """
    batch = Batch(arrays.positions, arrays.owner, arrays.tables, 0)
    x, cache = decode(spec, attend, dtype, params, cache, arrays.tokens, batch)
    hidden = rms_norm(x, params.final_norm, spec.norm_eps)
    # Padding holds whatever memory held.
    hidden = jnp.where(arrays.positions[:, None] >= 0, hidden, 0)
    return cache, hidden.reshape(-1, QUERY_BLOCK, spec.d_model).sum(axis=1)


def copy_pages(
    spec: ModelSpec, cache: Cache, copies: tuple[tuple[jax.Array, jax.Array], ...]
) -> Cache:
    """Copies whole pages in every layer that has some. copies: per layer kind (sources[N],
    targets[N]); padding copies the null page onto itself."""
    copied = []
    for layer, pages in zip(spec.kv_layers, cache, strict=True):
        source, target = copies[spec.windows.index(layer.window)]
        copied.append(
            jax.tree.map(lambda array, s=source, t=target: array.at[t].set(array[s]), pages)
        )
    return tuple(copied)


def zero_cache(
    spec: ModelSpec,
    page_counts: tuple[int, ...],
    page_size: int,
    storage: jnp.dtype,
    layout: KvLayout | None = None,
) -> Cache:
    """Empty pages for every layer that has its own; page_counts per layer kind, the null page
    included. layout: how a head is kept; as it is if None."""
    layers = []
    for layer in spec.kv_layers:
        pages = page_counts[spec.windows.index(layer.window)]
        width = layer.head_dim if layout is None else layout.width(layer.head_dim)
        shape = (pages, layer.kv_heads, page_size, width)
        arrays = [jnp.zeros(shape, storage) for _ in "kv"]
        if layout is not None and layout.scales:
            arrays += [jnp.zeros(shape[:3], jnp.float32) for _ in "kv"]
        layers.append(LayerCache(*arrays))
    return tuple(layers)
