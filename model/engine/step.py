"""The one compiled program: embed, layers, chosen rows, head, sampling."""

import jax
import jax.numpy as jnp

from model.engine.arrays import StepArrays
from model.engine.sampling import Sampled, sample
from model.kernels.decoder import decode_packed, head_logits_packed
from model.kernels.packed import PackedParams
from model.nn.decoder import Cache, LayerCache, decode, head_logits
from model.nn.params import Params
from model.spec import ModelSpec


def step(
    spec: ModelSpec,
    params: Params | PackedParams,
    cache: Cache,
    arrays: StepArrays,
    compiled: bool = False,
) -> tuple[Cache, tuple[jax.Array, Sampled] | None]:
    """One step over a batch; `cache` is meant to be donated. Shapes: see StepArrays.

    Returns the cache, and of the chosen rows the logits[R, V] float32 and what they gave. A shape
    without outputs (prefill) has no head and no sampling. compiled: with the compiled CPU kernels,
    which must be loaded; packed parameters always are.
    """
    batch = arrays.tokens, arrays.positions, arrays.tables
    if isinstance(params, PackedParams):
        hidden, cache = decode_packed(spec, params, cache, *batch)
    else:
        hidden, cache = decode(spec, params, cache, *batch, compiled)
    if not arrays.select.shape[0]:
        return cache, None
    chosen = hidden.reshape(-1, hidden.shape[-1])[arrays.select]
    if isinstance(params, PackedParams):
        logits = head_logits_packed(spec, params, chosen)
    else:
        logits = head_logits(params, chosen)
    return cache, (logits, sample(logits, arrays.rows, compiled))


def copy_pages(
    spec: ModelSpec, cache: Cache, copies: tuple[tuple[jax.Array, jax.Array], ...]
) -> Cache:
    """Copies whole pages in every layer. copies: per layer kind (sources[N], targets[N]);
    padding copies the null page onto itself."""
    copied = []
    for layer, pages in zip(spec.layers, cache, strict=True):
        source, target = copies[spec.windows.index(layer.window)]
        copied.append(LayerCache(*(array.at[target].set(array[source]) for array in pages)))
    return tuple(copied)


def zero_cache(
    spec: ModelSpec, page_counts: tuple[int, ...], page_size: int, storage: jnp.dtype
) -> Cache:
    """Empty pages for every layer; page_counts per layer kind, the null page included."""
    layers = []
    for layer in spec.layers:
        pages = page_counts[spec.windows.index(layer.window)]
        shape = (pages, layer.kv_heads, page_size, layer.head_dim)
        layers.append(LayerCache(jnp.zeros(shape, storage), jnp.zeros(shape, storage)))
    return tuple(layers)
