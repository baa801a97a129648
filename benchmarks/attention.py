"""The compiled attention over paged KV, a layer's call at a time, in one process.

    python -m benchmarks.attention [--runs 30] [--shape gemma|smollm] [--kept bfloat16|int8]

One table: what the calls of all layers of a step take, one after another (the least of the runs),
how fast they move bytes and do arithmetic, and the memory of the pages. Each layer has pages of its
own, so that nothing is read from a cache that would not be in a step.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels import ops
from model.kernels.library import load_kernels

PAGE = 32


@dataclass(frozen=True)
class Model:
    layers: int
    heads: int
    kv_heads: int
    head_dim: int


MODELS = {"gemma": Model(18, 4, 1, 256), "smollm": Model(30, 9, 3, 64)}


@dataclass(frozen=True)
class Case:
    """contexts: positions behind each row; new: tokens of each; shared: positions whose pages are
    the first row's. parts: layers are fewer by this factor, where pages would fill the memory."""

    name: str
    contexts: tuple[int, ...]
    new: int = 1
    shared: int = 0
    padding: int = 0
    parts: int = 1


CASES = (
    Case("1 row after 320", (320,)),
    Case("1 row after 4000", (4000,)),
    Case("1 row after 16K", (16384,), parts=3),
    Case("1 row after 32K", (32768,), parts=6),
    Case("8 rows after 320", (320,) * 8),
    Case("32 rows after 320", (320,) * 32),
    Case("32 rows after 320, 296 shared", (320,) * 32, shared=296),
    Case("32 rows after 320, + 256 padding", (320,) * 32, padding=256),
    Case("32 rows after 2048", (2048,) * 32, parts=6),
    Case("32 rows after 2048, 296 shared", (2048,) * 32, shared=296, parts=6),
    Case("32 rows after 2048, all shared", (2048,) * 32, shared=2048, parts=6),
    Case("31 rows after 100, 1 after 8K", (8192, *(100,) * 31), parts=3),
    Case("chunk of 256 from 0", (0,), new=256),
    Case("chunk of 256 after 2048", (2048,), new=256, parts=3),
)
Timed = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--shape", choices=tuple(MODELS), default="gemma")
    parser.add_argument("--kept", choices=("bfloat16", "int8"), default="bfloat16")
    parser.add_argument("--only", default="", help="cases whose name has this")
    arguments = parser.parse_args()
    if load_kernels() is None:
        raise SystemExit("no kernels here: see the line above")
    model = MODELS[arguments.shape]
    print(f"{'':36}{'ms a step':>10}{'GB/s':>7}{'GFLOP/s':>9}{'MiB KV':>9}")
    for case in CASES:
        if arguments.only in case.name:
            report(model, case, arguments.kept, arguments.runs)


def report(model: Model, case: Case, kept: str, runs: int) -> None:
    call, size = prepared(model, case, kept)
    seconds = least(call, runs) * case.parts
    positions = sum(case.contexts) + len(case.contexts) * case.new
    width = 4 * model.head_dim if kept == "bfloat16" else 2 * (model.head_dim + 4)
    moved = model.layers * positions * width * model.kv_heads
    seen = sum(case.new * (past + (case.new + 1) / 2) for past in case.contexts)
    work = model.layers * seen * 4 * model.heads * model.head_dim
    rate, speed, memory = moved / seconds / 1e9, work / seconds / 1e9, size * case.parts / 2**20
    print(f"{case.name:36}{seconds * 1e3:10.2f}{rate:7.1f}{speed:9.0f}{memory:9.1f}", flush=True)


def prepared(model: Model, case: Case, kept: str) -> tuple[Timed, int]:
    """A call of all layers, and the bytes of their pages."""
    rng = np.random.default_rng(0)
    layers, rows = model.layers // case.parts, len(case.contexts)
    G, R, K = model.kv_heads, model.heads // model.kv_heads, model.head_dim
    table, count = tables(case)
    positions = [past + i for past in case.contexts for i in range(case.new)]
    owner = [row for row in range(rows) for _ in range(case.new)]
    at = np.asarray(positions + [-1] * case.padding, np.int32)
    qkv = jnp.asarray(rng.normal(size=(len(at), G, R + 2, K)), jnp.float32)
    angles = jnp.asarray(rng.normal(size=(len(at), 1, K // 2)), jnp.float32)
    norm = jnp.ones(K, jnp.float32)
    batch = (jnp.asarray(table), jnp.asarray(owner + [0] * case.padding, jnp.int32), at)

    def layer(pages: Sequence[jax.Array], before: jax.Array) -> tuple[jax.Array, ...]:
        return ops.attention(
            qkv + before,
            pages,
            (jnp.cos(angles), jnp.sin(angles)),
            *batch,
            bias=None,
            norms=(norm, norm),
            scale=K**-0.5,
            eps=1e-6,
            window=None,
            dtype=jnp.dtype(jnp.float32),
        )

    def step(cache: list[tuple[jax.Array, ...]]) -> tuple[list[list[jax.Array]], jax.Array]:
        done, last = [], jnp.float32(0)
        for pages in cache:
            mixed, *updated = layer(pages, last)
            done.append(updated)
            last = mixed[0, 0, 0, 0] * 1e-9  # So that no layer begins before the last one ends.
        return done, last

    run = jax.jit(step, donate_argnums=(0,))
    state = [[fresh_pages(rng, (count, G, PAGE, K), kept) for _ in range(layers)]]
    size = sum(array.nbytes for pages in state[0] for array in pages)

    def once() -> jax.Array:
        state[0], result = run(state[0])
        return result

    return once, size


def tables(case: Case) -> tuple[np.ndarray, int]:
    """Pages in no order, as a pool that has run for a while gives them; and how many there are."""
    rows, blocks = len(case.contexts), (max(case.contexts) + case.new - 1) // PAGE + 1
    needed = [(past + case.new - 1) // PAGE + 1 for past in case.contexts]
    shared = case.shared // PAGE
    count = shared + sum(n - shared for n in needed) + 1
    pages = iter(1 + np.random.default_rng(1).permutation(count - 1))
    table = np.zeros((rows, blocks), np.int32)
    table[:, :shared] = [next(pages) for _ in range(shared)]
    for row, n in enumerate(needed):
        table[row, shared:n] = [next(pages) for _ in range(n - shared)]
    return table, count


def fresh_pages(
    rng: np.random.Generator, shape: tuple[int, ...], kept: str
) -> tuple[jax.Array, ...]:
    if kept == "int8":
        levels = jnp.asarray(rng.integers(-127, 128, shape[1:], np.int8))
        pages = [jnp.tile(levels, (shape[0], 1, 1, 1)) for _ in range(2)]
        return *pages, *(jnp.full(shape[:-1], 0.01, jnp.float32) for _ in range(2))
    bits = jnp.asarray(rng.integers(15000, 16500, shape[1:], np.uint16))
    return tuple(jnp.tile(bits, (shape[0], 1, 1, 1)) for _ in range(2))


def least(call: Timed, runs: int) -> float:
    """Seconds of the fastest of some runs."""
    times = []
    for _ in range(runs + 2):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return min(times[2:])


if __name__ == "__main__":
    main()
