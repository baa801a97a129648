"""The compiled CPU kernels beside the XLA programs that they replace, in one process.

    python -m benchmarks.kernels [--runs 15] [--shape gemma|smollm]

One table: what a call takes (the least of its runs, the two sides taking turns), how fast it moves
bytes and does arithmetic, and the ratio. A layer's calls go over as many copies of its weights as
the model has layers, so that nothing is read from a cache that would not be in a step.
"""

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import ctypes

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from model.engine.batch import empty_arrays
from model.engine.sampling import sample
from model.engine.shapes import StepShape
from model.kernels import ops
from model.kernels.library import load_kernels
from model.kernels.packed import Bits, PackedMatrix, pack

BITS: tuple[Bits, Bits] = (8, 4)


@dataclass(frozen=True)
class Model:
    layers: int
    width: int
    d_ff: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int


MODELS = {
    "gemma": Model(18, 640, 2048, 4, 1, 256, 262144),
    "smollm": Model(30, 576, 1536, 9, 3, 64, 49152),
}
Timed = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--shape", choices=tuple(MODELS), default="gemma")
    arguments = parser.parse_args()
    library = load_kernels()
    if library is None:
        raise SystemExit("no kernels here: see the line above")
    model = MODELS[arguments.shape]
    print(f"{'':34}{'kernel ms':>10}{'XLA ms':>9}{'ratio':>7}{'GB/s':>7}{'GFLOP/s':>9}")
    products = {
        "qkv": (model.width, (model.heads + 2 * model.kv_heads) * model.head_dim),
        "gate_up": (model.width, 2 * model.d_ff),
        "down": (model.d_ff, model.width),
    }
    for name, (inputs, outputs) in products.items():
        product(library, name, model.layers, inputs, outputs, (1, 8, 32, 256), arguments.runs)
    product(library, "head", 1, model.width, model.vocabulary, (1, 8, 32), arguments.runs)
    for count in (1, 8, 32):
        sampling(model, count, arguments.runs)


def product(
    library: ctypes.CDLL,
    name: str,
    layers: int,
    inputs: int,
    outputs: int,
    rows: tuple[int, ...],
    runs: int,
) -> None:
    """Weights in eight and in four bits against XLA's bfloat16 product of the same shape."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(outputs, inputs)).astype(np.float32) for _ in range(layers)]
    eight, four = ([pack(library, w, bits) for w in weights] for bits in BITS)
    dense = [jnp.asarray(w.T, jnp.bfloat16) for w in weights]
    del weights

    # Results are used, but not handed out: a step's do not leave it either.
    @jax.jit
    def kernel(x: jax.Array, packed: list[PackedMatrix]) -> list[jax.Array]:
        return [ops.linear(x, w, outputs)[:, 0] for w in packed]

    @jax.jit
    def plain(x: jax.Array) -> list[jax.Array]:
        narrow = x.astype(jnp.bfloat16)
        products = (
            jnp.einsum("MK,KN->MN", narrow, w, preferred_element_type=jnp.float32) for w in dense
        )
        return [lax.optimization_barrier(product)[:, 0] for product in products]

    for count in rows:
        x = jnp.asarray(rng.normal(size=(count, inputs)), jnp.float32)
        # XLA's products of few bfloat16 rows are so slow that the engine pads them to eight.
        padded = jnp.pad(x, ((0, max(0, 8 - count)), (0, 0)))
        sides = partial(kernel, x, eight), partial(kernel, x, four), partial(plain, padded)
        *ours, theirs = take_turns(*sides, runs=runs)
        work = 2 * layers * count * inputs * outputs
        for bits, packed, seconds in zip(BITS, (eight, four), ours, strict=True):
            moved = sum(w.blob.size for w in packed) + layers * 4 * count * (inputs + outputs)
            row(f"{name}, {bits} bits, {count} rows, {layers} x", seconds, theirs, moved, work)


def sampling(model: Model, count: int, runs: int) -> None:
    """A token of each row at temperature 1, from logits that are there already."""
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(count, model.vocabulary)) * 3, jnp.float32)
    uniform = jnp.asarray(rng.random(count), jnp.float32)
    live, ones = jnp.zeros(count, jnp.int32), jnp.ones(count, jnp.float32)
    kernel, plain = jax.jit(ops.draw), jax.jit(sample)
    for name, top_k, top_p in (("plain", 0, 1.0), ("top-k 40, top-p .95", 40, 0.95)):
        arrays = empty_arrays(StepShape(count, 0, count), 1, 1).rows
        arrays.live[:] = 0
        arrays.temperature[:], arrays.top_k[:], arrays.top_p[:] = 1.0, top_k, top_p
        wishes = live + top_k, ones * top_p, 0 * ones
        ours, theirs = take_turns(
            partial(kernel, logits, live, ones, uniform, *wishes),
            partial(plain, logits, arrays),
            runs=runs,
        )
        row(f"sampling, {name}, {count} rows", ours, theirs, logits.nbytes, 0)


def take_turns(*sides: Timed, runs: int) -> list[float]:
    """Least seconds of each."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(runs + 2):
        for side, call in zip(times, sides, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            side.append(time.perf_counter() - start)
    return [min(side[2:]) for side in times]


def row(name: str, ours: float, theirs: float, moved: float, work: float) -> None:
    ratio, rate, speed = theirs / ours, moved / ours / 1e9, work / ours / 1e9
    print(
        f"{name:34}{ours * 1e3:10.2f}{theirs * 1e3:9.2f}{ratio:7.1f}{rate:7.1f}{speed:9.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
