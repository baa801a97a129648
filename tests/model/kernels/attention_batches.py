"""Ragged batches for the compiled attention, and what float64 makes of them."""

from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels import ops

STALE = 3e38
"""What another request may have left in a page, behind the last position of its present owner."""


@dataclass(frozen=True)
class Heads:
    kv_heads: int = 1
    queries_per_kv: int = 2
    head_dim: int = 8
    page_size: int = 4
    window: int | None = None
    bias: bool = False
    norm: bool = False
    kept: str = "float32"  # or bfloat16, or int8
    scale: float | None = None


@dataclass(frozen=True)
class Sequence:
    """past: positions in the pages already; new: tokens in the batch. shares: the sequence (by
    index, an earlier one) that has the same full pages among the first `shared` positions."""

    past: int
    new: int
    shares: int | None = None
    shared: int = 0


@dataclass
class Batch:
    """Arrays of one call. pages: as the kernel keeps them."""

    heads: Heads
    qkv: np.ndarray
    pages: tuple[np.ndarray, ...]
    table: np.ndarray
    owner: np.ndarray
    positions: np.ndarray
    bias: np.ndarray | None = None
    norms: tuple[np.ndarray, np.ndarray] | None = None
    eps: float = 1e-6
    rope: tuple[np.ndarray, np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        self.rope = rope(self.positions, self.heads.head_dim)

    @property
    def scale(self) -> float:
        return self.heads.scale or self.heads.head_dim**-0.5

    @property
    def live(self) -> np.ndarray:
        return self.positions >= 0


def rope(positions: np.ndarray, head_dim: int) -> tuple[np.ndarray, np.ndarray]:
    frequencies = 1e4 ** (-2 * np.arange(head_dim // 2) / head_dim)
    angles = positions[:, None, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def stored(kept: str, *values: np.ndarray) -> tuple[np.ndarray, ...]:
    """Keys and values [..., K] as pages keep them."""
    if kept == "int8":
        scales = [np.abs(x).max(-1) / np.float32(127) for x in values]
        levels = [x / scale[..., None] for x, scale in zip(values, scales, strict=True)]
        with np.errstate(invalid="ignore"):  # The null page.
            return *(np.rint(x).astype(np.int8) for x in levels), *scales
    narrow = tuple(x.astype(np.float32).astype(kept) for x in values)
    return tuple(x.view(np.uint16) for x in narrow) if kept == "bfloat16" else narrow


def restored(kept: str, pages: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Keys and values [..., K] float32 of what `stored` made of them."""
    if kept == "int8":
        return pages[0] * pages[2][..., None], pages[1] * pages[3][..., None]
    if kept == "bfloat16":
        pages = tuple(x.view(jnp.bfloat16) for x in pages)
    return tuple(np.asarray(x, np.float32) for x in pages)


def make_batch(
    heads: Heads, sequences: tuple[Sequence, ...], holes: tuple[int, ...] = (), seed: int = 0
) -> Batch:
    """holes: where padding stands, as indices into the flat batch (taken in order)."""
    rng = np.random.default_rng(seed)
    S, G, R, K = heads.page_size, heads.kv_heads, heads.queries_per_kv, heads.head_dim
    W = max(1, *((s.past + s.new + S - 1) // S for s in sequences)) + 1
    P = len(sequences) * W + 1
    table = (1 + rng.permutation(P - 1)).reshape(-1, W).astype(np.int32)
    k = np.full((P, G, S, K), STALE, np.float32)
    v = k.copy()
    k[0] = v[0] = np.nan  # The null page.
    owner, positions = [], []
    for index, s in enumerate(sequences):
        full = 0
        if s.shares is not None:
            full = min(s.shared, s.past, sequences[s.shares].past) // S
            table[index, :full] = table[s.shares, :full]
        for block in range(full, -(-s.past // S)):
            page, count = table[index, block], min(S, s.past - block * S)
            k[page, :, :count] = rng.normal(size=(G, count, K))
            v[page, :, :count] = rng.normal(size=(G, count, K))
        owner += [index] * s.new
        positions += range(s.past, s.past + s.new)
    if heads.window is not None:  # Pages behind every window are given back.
        for index, s in enumerate(sequences):
            table[index, : max(0, s.past - heads.window + 1) // S] = 0
    for hole in holes:
        owner.insert(hole, int(rng.integers(-3, len(sequences) + 3)))
        positions.insert(hole, -1)
    at = np.asarray(positions, np.int32)
    qkv = rng.normal(size=(len(at), G, R + 2, K)).astype(np.float32)
    qkv[at < 0] = np.nan
    return Batch(
        heads,
        qkv,
        stored(heads.kept, k, v),
        table,
        np.asarray(owner, np.int32),
        at,
        rng.normal(size=(G, R + 2, K)).astype(np.float32) if heads.bias else None,
        tuple(rng.normal(1, 0.2, size=(2, K)).astype(np.float32)) if heads.norm else None,
    )


def tokens_of(batch: Batch, tokens: np.ndarray | list[int]) -> Batch:
    """The same pages, only these tokens, in this order."""
    return Batch(
        batch.heads,
        batch.qkv[tokens],
        batch.pages,
        batch.table,
        batch.owner[tokens],
        batch.positions[tokens],
        batch.bias,
        batch.norms,
        batch.eps,
    )


def run(batch: Batch) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Mixed values [T, G, R, K] and pages, of the kernel."""
    mixed, *pages = jax.jit(
        partial(
            ops.attention,
            bias=batch.bias,
            norms=batch.norms,
            scale=batch.scale,
            eps=batch.eps,
            window=batch.heads.window,
            dtype=jnp.dtype(jnp.float32),
        )
    )(batch.qkv, batch.pages, batch.rope, batch.table, batch.owner, batch.positions)
    return np.asarray(mixed), tuple(np.asarray(x) for x in pages)


def reference(batch: Batch) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """The same in float64, keys and values rounded as they are kept. Padding's rows are zero."""
    heads, S = batch.heads, batch.heads.page_size
    pages = tuple(x.copy() for x in batch.pages)
    queries, keys, values = projected(batch)
    mixed = np.zeros(queries.shape)
    live = np.flatnonzero(batch.live)
    page, offset = (
        batch.table[batch.owner[live], batch.positions[live] // S],
        batch.positions[live] % S,
    )
    for array, new in zip(pages, stored(heads.kept, keys[live], values[live]), strict=True):
        array[page, :, offset] = new
    k, v = (x.astype(np.float64) for x in restored(heads.kept, pages))
    for t in live:
        at = int(batch.positions[t])
        seen = np.arange(max(0, at - (heads.window or at + 1) + 1), at + 1)
        whose = batch.table[batch.owner[t], seen // S]
        scores = np.einsum("GRK,SGK->GRS", queries[t], k[whose, :, seen % S]) * batch.scale
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        mixed[t] = np.einsum("GRS,SGK->GRK", weights, v[whose, :, seen % S])
    return mixed, pages


def projected(batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries [T, G, R, K], keys and values [T, G, K] in float64."""
    R = batch.heads.queries_per_kv
    x = batch.qkv.astype(np.float64)
    if batch.bias is not None:
        x = x + batch.bias
    queries, keys, values = x[:, :, :R], x[:, :, R], x[:, :, R + 1]
    if batch.norms is not None:
        queries = _normed(queries, batch.norms[0], batch.eps)
        keys = _normed(keys, batch.norms[1], batch.eps)
    cos, sin = (angle.astype(np.float64) for angle in batch.rope)
    return _rotated(queries, cos[:, None], sin[:, None]), _rotated(keys, cos, sin), values


def _normed(x: np.ndarray, scale: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale


def _rotated(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
