"""KV pages as arrays: how they are kept, written and gathered."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class LayerCache(NamedTuple):
    """KV pages of one layer: [P, G, S, K] each, in their storage dtype; of int8 pages the float32
    scales too, [P, G, S] each."""

    k: jax.Array
    v: jax.Array
    k_scale: jax.Array | None = None
    v_scale: jax.Array | None = None


Cache = tuple[LayerCache, ...]
"""Of each of `ModelSpec.kv_layers`."""

_LEAST_SCALE = 1e-30  # The inverse of a smaller one would overflow.


def storage_dtype(dtype: jnp.dtype, platform: str) -> jnp.dtype:
    """How KV is kept. XLA's CPU scatter widens a whole bfloat16 buffer to float32 and back
    (19 ms for 25 MB against 10 us), so there the same bits are kept as uint16."""
    if platform == "cpu" and dtype == jnp.bfloat16:
        return jnp.dtype(jnp.uint16)
    return jnp.dtype(dtype)


def to_storage(x: jax.Array, storage: jnp.dtype) -> jax.Array:
    return x if x.dtype == storage else lax.bitcast_convert_type(x, storage)


def from_storage(x: jax.Array, dtype: jnp.dtype) -> jax.Array:
    return x if x.dtype == dtype else lax.bitcast_convert_type(x, dtype)


def write_pages(
    pages: jax.Array, values: jax.Array, slots: tuple[jax.Array, jax.Array]
) -> jax.Array:
    """Stores values[T, G, K] at slots (page[T], offset[T]) of pages[P, G, S, K]."""
    page, offset = slots
    # Pages pass from one request to another, and an overflow in one must end with it: what a
    # query does not see has weight 0, but 0 times infinity is not 0.
    stored = to_storage(jnp.nan_to_num(values), pages.dtype)
    return pages.at[page, :, offset].set(stored, mode="promise_in_bounds")


def store(
    pages: LayerCache, k: jax.Array, v: jax.Array, slots: tuple[jax.Array, jax.Array]
) -> LayerCache:
    """Keys and values [T, G, K] into the pages; into int8 pages with a scale for each token and
    head, the largest of its entries over 127."""
    if pages.k_scale is None or pages.v_scale is None:
        return LayerCache(write_pages(pages.k, k, slots), write_pages(pages.v, v, slots))
    page, offset = slots
    written = []
    for values, into, scales in ((k, pages.k, pages.k_scale), (v, pages.v, pages.v_scale)):
        values = jnp.nan_to_num(values.astype(jnp.float32))
        scale = jnp.max(jnp.abs(values), axis=-1) / 127
        factor = jnp.where(scale > 0, 1 / jnp.maximum(scale, _LEAST_SCALE), 0)
        levels = jnp.round(values * factor[..., None]).astype(jnp.int8)
        written.append(into.at[page, :, offset].set(levels, mode="promise_in_bounds"))
        written.append(scales.at[page, :, offset].set(scale, mode="promise_in_bounds"))
    return LayerCache(written[0], written[2], written[1], written[3])


def slots_of(
    table: jax.Array, owner: jax.Array, positions: jax.Array, page_size: int
) -> tuple[jax.Array, jax.Array]:
    """Where each token is written: (page, offset), both [T]; padding goes to page 0."""
    at = jnp.maximum(positions, 0)
    page = table[owner, at // page_size]
    return jnp.where(positions < 0, 0, page), at % page_size


def gather_pages(
    pages: jax.Array, scales: jax.Array | None, ids: jax.Array, dtype: jnp.dtype
) -> jax.Array:
    """Pages ids[B, n] of pages[P, G, S, K] as [B, G, n * S, K], times scales[P, G, S] of bytes."""
    B, n = ids.shape
    _, G, S, K = pages.shape
    if scales is None:
        found = from_storage(pages[ids], dtype)
    else:
        found = (pages[ids] * scales[ids][..., None]).astype(dtype)
    return found.transpose(0, 2, 1, 3, 4).reshape(B, G, n * S, K)
