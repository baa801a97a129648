"""Attention over paged KV as a Pallas kernel for TPU: one program a block of queries.

A program owns tokens of one sequence. It visits that sequence's pages from the first one that its
window reaches to the one its last token stands in, several pages at a time, with a running
softmax. While it computes on one buffer the next pages arrive in the other; the last visit of a
program already fetches for the next one.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

_MASKED = -1e30
_LANES = 128
_MOST_SPAN = 512
_BUFFER_BYTES = 4 * 2**20
"""Of on-chip memory, for the pages of two visits; the rest of 16 MiB is for queries and sums."""


def fits(page_size: int, head_dim: int, kv_heads: int, dtype: jnp.dtype) -> bool:
    """Whether the kernel takes such pages: whole tiles, and two visits of one fit on the chip."""
    tile = 32 // jnp.dtype(dtype).itemsize
    page = 2 * 2 * kv_heads * page_size * head_dim * jnp.dtype(dtype).itemsize
    return page_size % tile == 0 and head_dim % _LANES == 0 and page <= _BUFFER_BYTES


def paged_attention(
    q: jax.Array,
    k_pages: jax.Array,
    v_pages: jax.Array,
    table: jax.Array,
    first: jax.Array,
    count: jax.Array,
    *,
    scale: float,
    window: int | None,
    interpret: Any = False,
) -> jax.Array:
    """Causal attention of queries whose own keys are already in the pages.

    q: [B, Q, G, R, K], blocks of Q tokens of one sequence each. k_pages, v_pages: [P, G, S, K], of
    finite numbers, in q's dtype. table: [B, W] int32 pages of each block's sequence. first, count:
    [B] int32; a block's tokens stand at first, first + 1, ..., the first `count` of them are
    real, 0 is a block of padding. window: positions seen, the query's own included. Returns
    [B, Q, G, R, K] in q's dtype; padding's rows are finite and mean nothing.
    """
    B, Q, G, R, K = q.shape
    _, _, S, _ = k_pages.shape
    W = table.shape[1]
    M = -(-R * Q // 16) * 16
    visit = _pages_of_visit(S, W, G, K, q.dtype)
    span = visit * S
    end = jnp.where(count > 0, (first + count - 1) // span + 1, 0)
    begin = jnp.zeros_like(first)
    if window is not None:
        begin = jnp.where(count > 0, jnp.maximum(first - window + 1, 0) // span, 0)
    queries = (q * scale).astype(q.dtype).transpose(0, 2, 3, 1, 4).reshape(B, G, R * Q, K)
    queries = jnp.pad(queries, ((0, 0), (0, 0), (0, M - R * Q), (0, 0)))

    def of_block(b: jax.Array, *_: jax.Array) -> tuple[jax.Array, int, int, int]:
        return b, 0, 0, 0

    def here(b: jax.Array, *_: jax.Array) -> tuple[jax.Array, int, int]:
        return b, 0, 0

    def following(b: jax.Array, *_: jax.Array) -> tuple[jax.Array, int, int]:
        return jnp.minimum(b + 1, B - 1), 0, 0

    pages = pltpu.VMEM((2, visit, G, S, K), k_pages.dtype)
    tables = table.reshape(B, 1, W)
    mixed = pl.pallas_call(
        partial(_attend_block, queries_of_head=Q, window=window),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=3,
            grid=(B,),
            in_specs=[
                pl.BlockSpec((1, 1, W), here, memory_space=pltpu.SMEM),
                pl.BlockSpec((1, 1, W), following, memory_space=pltpu.SMEM),
                pl.BlockSpec((1, G, M, K), of_block),
                pl.BlockSpec(memory_space=pl.ANY),
                pl.BlockSpec(memory_space=pl.ANY),
            ],
            out_specs=pl.BlockSpec((1, G, M, K), of_block),
            scratch_shapes=[
                pages,
                pages,
                pltpu.SemaphoreType.DMA((2, 2)),
                pltpu.SMEM((2,), jnp.int32),
                pltpu.VMEM((G, M, _LANES), jnp.float32),
                pltpu.VMEM((G, M, _LANES), jnp.float32),
                pltpu.VMEM((G, M, K), jnp.float32),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct((B, G, M, K), q.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("arbitrary",)),
        interpret=interpret,
        name="paged_attention",
    )(begin, end, first, tables, tables, queries, k_pages, v_pages)
    return mixed[:, :, : R * Q].reshape(B, G, R, Q, K).transpose(0, 3, 1, 2, 4)


def _pages_of_visit(S: int, W: int, G: int, K: int, dtype: jnp.dtype) -> int:
    page = 2 * 2 * G * S * K * jnp.dtype(dtype).itemsize
    return max(1, min(_MOST_SPAN // S, _BUFFER_BYTES // page, W))


def _attend_block(
    begin: jax.Array,
    end: jax.Array,
    first: jax.Array,
    table: jax.Array,
    next_table: jax.Array,
    q: jax.Array,
    k_pages: jax.Array,
    v_pages: jax.Array,
    out: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    arrived: jax.Array,
    state: jax.Array,
    peak: jax.Array,
    total: jax.Array,
    mixed: jax.Array,
    *,
    queries_of_head: int,
    window: int | None,
) -> None:
    """One program. begin, end: [B] visits of each block. state: the buffer that is next to be
    computed on, and whether its pages have been asked for."""
    block, blocks = pl.program_id(0), pl.num_programs(0)
    _, visit, G, S, K = keys.shape
    W, M = table.shape[-1], q.shape[2]
    span = visit * S

    def copies(pages_of: jax.Array, at: jax.Array, buffer: jax.Array) -> list[Any]:
        """What brings a visit's pages; beyond the table its last page stands in, unseen."""
        found = []
        for i in range(visit):
            page = pages_of[0, 0, jnp.minimum(at * visit + i, W - 1)]
            for kind, (source, target) in enumerate(((k_pages, keys), (v_pages, values))):
                found.append(
                    pltpu.make_async_copy(
                        source.at[page], target.at[buffer, i], arrived.at[buffer, kind]
                    )
                )
        return found

    def ask(pages_of: jax.Array, at: jax.Array, buffer: jax.Array) -> None:
        for copy in copies(pages_of, at, buffer):
            copy.start()

    @pl.when(block == 0)
    def begin_all() -> None:
        state[0] = 0
        state[1] = 0

    live = begin[block] < end[block]

    @pl.when(jnp.logical_not(live))
    def skip() -> None:
        out[...] = jnp.zeros_like(out)

    @pl.when(live & (state[1] == 0))
    def ask_for_own() -> None:
        ask(table, begin[block], state[0])

    def visit_pages(at: jax.Array, buffer: jax.Array) -> jax.Array:
        other = 1 - buffer
        last = at + 1 == end[block]
        following = jnp.minimum(block + 1, blocks - 1)
        wanted = (block + 1 < blocks) & (begin[following] < end[following])

        @pl.when(jnp.logical_not(last))
        def ask_for_more() -> None:
            ask(table, at + 1, other)

        @pl.when(last & wanted)
        def ask_for_next() -> None:
            ask(next_table, begin[following], other)

        @pl.when(last)
        def note() -> None:
            state[1] = wanted.astype(jnp.int32)

        for copy in copies(table, at, buffer):
            copy.wait()
        # Rows are a head's queries, head by head; tokens within.
        token = lax.rem(lax.broadcasted_iota(jnp.int32, (M, span), 0), queries_of_head)
        position = first[block] + token
        key = at * span + lax.broadcasted_iota(jnp.int32, (M, span), 1)
        seen = key <= position
        if window is not None:
            seen &= key > position - window

        def head(g: int) -> None:
            k, v = (array[buffer, :, g].reshape(span, K) for array in (keys, values))
            scores = lax.dot_general(
                q[0, g], k, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
            )
            scores = jnp.where(seen, scores, _MASKED)
            old = peak[g][:, :1]
            new = jnp.maximum(old, jnp.max(scores, axis=1, keepdims=True))
            # A visit that a row does not see at all must not count, whatever its peak was.
            weights = jnp.where(seen, jnp.exp(scores - new), 0.0)
            fade = jnp.exp(old - new)
            update = jnp.dot(weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
            mixed[g] = mixed[g] * fade + update
            sums = total[g][:, :1] * fade + jnp.sum(weights, axis=1, keepdims=True)
            total[g] = jnp.broadcast_to(sums, (M, _LANES))
            peak[g] = jnp.broadcast_to(new, (M, _LANES))

        for g in range(G):
            head(g)
        return other

    @pl.when(live)
    def attend() -> None:
        peak[...] = jnp.full_like(peak, _MASKED)
        total[...] = jnp.zeros_like(total)
        mixed[...] = jnp.zeros_like(mixed)
        state[0] = lax.fori_loop(begin[block], end[block], visit_pages, state[0])
        for g in range(G):
            sums = jnp.maximum(total[g][:, :1], 1e-30)
            out[0, g] = (mixed[g] / sums).astype(out.dtype)
