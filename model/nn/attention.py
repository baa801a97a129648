"""Attention over paged KV: the plain-JAX reference, portable and the oracle for kernels.

Pages are visited a block at a time with a running softmax, from the first block that any row
sees to the last one. The number of blocks is a value, not a shape: one program serves every
context length, and costs what the longest row in the batch needs.
"""

import jax
import jax.numpy as jnp
from jax import lax

from model.nn.batch import Batch
from model.nn.blocks import QUERY_BLOCK
from model.nn.cache import LayerCache, gather_pages, slots_of, store
from model.nn.ops import apply_rope, rms_norm
from model.nn.params import LayerParams
from model.spec import LayerSpec, ModelSpec

BLOCK_TOKENS = 128
_MASKED = -1e30

_Running = tuple[jax.Array, jax.Array, jax.Array]
"""Of a running softmax: highest score, sum of weights, weighted sum of values."""


def attend(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: LayerParams,
    pages: LayerCache,
    qkv: jax.Array,
    batch: Batch,
    rope: tuple[jax.Array, jax.Array],
    dtype: jnp.dtype,
    *,
    block_bytes: int = 0,
) -> tuple[jax.Array, LayerCache]:
    """From the fused projection qkv[T, G, R + 2, K] float32 to the mixed values [T, G, R, K].

    Bias, norms and rotation, the new rows of the pages, attention over the pages; a layer without
    keys of its own reads pages that are written already. This is the seam at which other kernels
    take over: they have this signature. Pages may keep heads wider than they are. block_bytes:
    how much of the pages may be gathered at once; each visit costs an accelerator a wait, so it
    makes fewer.
    """
    q, new = queries_keys_values(spec, layer, weights, qkv, rope, dtype)
    wider = ((0, 0), (0, 0), (0, pages.k.shape[-1] - layer.head_dim))
    if wider[-1][1]:
        q, new = jax.tree.map(lambda x: jnp.pad(x, wider), (q, new))
    table = batch.tables[spec.windows.index(layer.window)]
    if new is not None:
        slots = slots_of(table, batch.owner, batch.positions, pages.k.shape[2])
        pages = store(pages, *new, slots)
    D = batch.rows
    parts = []
    for first, count, width in ((0, D, 1), (D, (qkv.shape[0] - D) // QUERY_BLOCK, QUERY_BLOCK)):
        if count == 0:
            continue
        part = slice(first, first + count * width)
        mixed = paged_attention(
            q[part].reshape(count, width, *q.shape[1:]),
            pages,
            table[batch.owner[first : part.stop : width]],
            batch.positions[part].reshape(count, width),
            scale=spec.attn_scale,
            window=layer.window,
            sees=None if batch.sees is None else batch.sees[part].reshape(count, width),
            block_tokens=max(BLOCK_TOKENS, _tokens_of(block_bytes, count, pages)),
        )
        parts.append(mixed.reshape(count * width, *q.shape[1:]))
    mixed = jnp.concatenate(parts)
    mixed = mixed[..., : layer.head_dim]
    G, R, K = layer.kv_heads, layer.queries_per_kv, layer.head_dim
    return mixed.reshape(-1, G, R, K), pages


def _tokens_of(block_bytes: int, rows: int, pages: LayerCache) -> int:
    """Positions whose keys and values over so many rows take at most `block_bytes`."""
    _, G, _, K = pages.k.shape
    return block_bytes // (2 * rows * G * K * pages.k.dtype.itemsize)


def queries_keys_values(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: LayerParams,
    qkv: jax.Array,
    rope: tuple[jax.Array, jax.Array],
    dtype: jnp.dtype,
) -> tuple[jax.Array, tuple[jax.Array, jax.Array] | None]:
    """Bias, norms and rotation: q[T, N, K] and, where the layer has its own, k[T, G, K] and
    v[T, G, K], in `dtype`."""
    T, G, _, K = qkv.shape
    R = layer.queries_per_kv
    if weights.qkv_bias is not None:
        qkv = qkv + weights.qkv_bias
    q = qkv[:, :, :R].reshape(T, G * R, K)
    if weights.q_norm is not None:
        q = rms_norm(q, weights.q_norm, spec.norm_eps)
    q = apply_rope(q, *rope).astype(dtype)
    if layer.kv_source is not None:
        return q, None
    # The last of them is the projected key where keys are values.
    k, v = qkv[:, :, R], qkv[:, :, -1]
    if weights.k_norm is not None:
        k = rms_norm(k, weights.k_norm, spec.norm_eps)
    if spec.v_norm:
        v = rms_norm(v, None, spec.norm_eps)
    return q, (apply_rope(k, *rope).astype(dtype), v.astype(dtype))


def paged_attention(
    q: jax.Array,
    pages: LayerCache,
    table: jax.Array,
    positions: jax.Array,
    *,
    scale: float,
    window: int | None,
    sees: jax.Array | None = None,
    block_tokens: int = BLOCK_TOKENS,
) -> jax.Array:
    """Causal attention of queries whose own keys are already in the pages.

    q: [B, Q, N, K]. pages: a head's positions lie together, so its products need no transposition.
    table: [B, W] page of each block of S positions. positions: [B, Q] int32, -1 for padding (its
    result is finite and meaningless). window: positions seen, the query's own included. sees:
    [B, Q] int32, the last position that a query sees instead of its own: later ones of its image.
    block_tokens: positions visited at once. Returns [B, Q, N, K] in q's dtype.
    """
    B, Q, N, K = q.shape
    _, G, S, _ = pages.k.shape
    R = N // G
    per_block = max(1, min(block_tokens // S, table.shape[1]))
    span = per_block * S
    blocks = -(-table.shape[1] // per_block)
    table = jnp.pad(table, ((0, 0), (0, blocks * per_block - table.shape[1])))
    queries = (q.reshape(B, Q, G, R, K) * scale).astype(q.dtype)
    queries = queries.transpose(0, 2, 3, 1, 4).reshape(B, G, R * Q, K)

    sees = positions if sees is None else sees
    last = jnp.maximum(jnp.max(sees), 0)
    first = jnp.int32(0)
    if window is not None:
        lowest = jnp.min(jnp.where(positions < 0, last, positions))
        first = jnp.maximum(lowest - window + 1, 0) // span

    def visit(block: jax.Array, carry: _Running) -> _Running:
        peak, total, mixed = carry
        ids = lax.dynamic_slice(table, (0, block * per_block), (B, per_block))
        keys = gather_pages(pages.k, pages.k_scale, ids, q.dtype)
        values = gather_pages(pages.v, pages.v_scale, ids, q.dtype)
        scores = jnp.einsum("BGMK,BGSK->BGMS", queries, keys, preferred_element_type=jnp.float32)
        at = block * span + jnp.arange(span, dtype=jnp.int32)
        seen = at[None, None] <= sees[..., None]
        if window is not None:
            seen &= at[None, None] > positions[..., None] - window
        seen = jnp.broadcast_to(seen[:, None, None], (B, 1, R, Q, span))
        seen = seen.reshape(B, 1, R * Q, span)
        scores = jnp.where(seen, scores, _MASKED)
        new_peak = jnp.maximum(peak, scores.max(axis=-1))
        # A block that a row does not see at all must not count, whatever its peak was.
        weights = jnp.where(seen, jnp.exp(scores - new_peak[..., None]), 0.0)
        fade = jnp.exp(peak - new_peak)
        update = jnp.einsum(
            "BGMS,BGSK->BGMK",
            weights.astype(q.dtype),
            values,
            preferred_element_type=jnp.float32,
        )
        return (
            new_peak,
            total * fade + weights.sum(axis=-1),
            mixed * fade[..., None] + update,
        )

    shape = (B, G, R * Q)
    start = (
        jnp.full(shape, _MASKED, jnp.float32),
        jnp.zeros(shape, jnp.float32),
        jnp.zeros((*shape, K), jnp.float32),
    )
    _, total, mixed = lax.fori_loop(first, last // span + 1, visit, start)
    out = mixed / jnp.maximum(total, 1e-30)[..., None]
    return out.reshape(B, G, R, Q, K).transpose(0, 3, 1, 2, 4).reshape(B, Q, N, K).astype(q.dtype)
