"""The seam of `model.nn.attention.attend`, filled by the Pallas kernel: KV written, then read."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from model.kernels.pallas_attention import paged_attention
from model.nn.attention import attend, queries_keys_values
from model.nn.batch import Batch
from model.nn.blocks import QUERY_BLOCK
from model.nn.cache import LayerCache, slots_of, store
from model.nn.params import LayerParams
from model.parallel.axes import TENSOR, heads_axis
from model.spec import LayerSpec, ModelSpec

LANES = 128
"""Pages keep heads in whole lanes: narrower ones would be laid out anew around every call."""
_BLOCK_BYTES = 64 * 2**20


def attend_pallas(
    spec: ModelSpec,
    layer: LayerSpec,
    weights: LayerParams,
    pages: LayerCache,
    qkv: jax.Array,
    batch: Batch,
    rope: tuple[jax.Array, jax.Array],
    dtype: jnp.dtype,
    *,
    mesh: Mesh | None = None,
    interpret: Any = False,
) -> tuple[jax.Array, LayerCache]:
    """As `model.nn.attention.attend`. mesh: a compiler cannot cut a kernel, so each device is told
    to run it over its own KV heads, or over all of them where they do not divide. Steps that read
    images take the plain form: the kernel is causal."""
    if batch.sees is not None:
        return attend(
            spec, layer, weights, pages, qkv, batch, rope, dtype, block_bytes=_BLOCK_BYTES
        )
    q, new = queries_keys_values(spec, layer, weights, qkv, rope, dtype)
    G, R, K = layer.kv_heads, layer.queries_per_kv, layer.head_dim
    width = pages.k.shape[-1]
    q, new = jax.tree.map(
        lambda x: jnp.pad(x, ((0, 0),) * (x.ndim - 1) + ((0, width - K),)),
        (q.reshape(-1, G, R, K), new),
    )
    run = partial(
        _write_and_attend,
        rows=batch.rows,
        scale=spec.attn_scale,
        window=layer.window,
        interpret=interpret,
    )
    if mesh is not None and mesh.shape[TENSOR] > 1:
        heads = PartitionSpec(None, heads_axis(mesh, G))
        everywhere = PartitionSpec()
        run = jax.shard_map(
            run,
            mesh=mesh,
            in_specs=(heads, heads, heads, everywhere, everywhere, everywhere),
            out_specs=(heads, heads),
            check_vma=False,
        )
    table = batch.tables[spec.windows.index(layer.window)]
    mixed, pages = run(q, new, pages, table, batch.owner, batch.positions)
    return mixed[..., :K], pages


def _write_and_attend(
    q: jax.Array,
    new: tuple[jax.Array, jax.Array] | None,
    pages: LayerCache,
    table: jax.Array,
    owner: jax.Array,
    positions: jax.Array,
    *,
    rows: int,
    scale: float,
    window: int | None,
    interpret: Any,
) -> tuple[jax.Array, LayerCache]:
    """q: [T, G, R, K]. new: keys and values [T, G, K], if any; K as wide as the pages. Returns
    mixed [T, G, R, K]."""
    if new is not None:
        pages = store(pages, *new, slots_of(table, owner, positions, pages.k.shape[2]))
    parts = []
    for begin, end, width in ((0, rows, 1), (rows, len(q), QUERY_BLOCK)):
        if begin == end:
            continue
        blocks = positions[begin:end].reshape(-1, width)
        mixed = paged_attention(
            q[begin:end].reshape(-1, width, *q.shape[1:]),
            pages.k,
            pages.v,
            table[owner[begin:end:width]],
            jnp.maximum(blocks[:, 0], 0),
            jnp.sum(blocks >= 0, axis=1, dtype=jnp.int32),
            scale=scale,
            window=window,
            interpret=interpret,
        )
        parts.append(mixed.reshape(-1, *q.shape[1:]))
    return jnp.concatenate(parts), pages
