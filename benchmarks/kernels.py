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

from model.engine.batch import empty_arrays
from model.engine.sampling import sample
from model.engine.shapes import StepShape
from model.kernels import ops
from model.kernels.library import load_kernels
from model.kernels.packed import pack


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
    """Eight-bit weights against XLA's bfloat16 product of the same shape."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(outputs, inputs)).astype(np.float32) for _ in range(layers)]
    packed = [pack(library, w) for w in weights]
    dense = [jnp.asarray(w.T, jnp.bfloat16) for w in weights]
    del weights

    @jax.jit
    def kernel(x: jax.Array) -> list[jax.Array]:
        return [ops.linear(x, w, outputs) for w in packed]

    @jax.jit
    def plain(x: jax.Array) -> list[jax.Array]:
        narrow = x.astype(jnp.bfloat16)
        return [
            jnp.einsum("MK,KN->MN", narrow, w, preferred_element_type=jnp.float32) for w in dense
        ]

    for count in rows:
        x = jnp.asarray(rng.normal(size=(count, inputs)), jnp.float32)
        # XLA's products of few bfloat16 rows are so slow that the engine pads them to eight.
        padded = jnp.pad(x, ((0, max(0, 8 - count)), (0, 0)))
        ours, theirs = take_turns(partial(kernel, x), partial(plain, padded), runs)
        moved = sum(w.blob.size for w in packed) + layers * 4 * count * (inputs + outputs)
        work = 2 * layers * count * inputs * outputs
        row(f"{name}, {count} rows, {layers} x", ours, theirs, moved, work)


def sampling(model: Model, count: int, runs: int) -> None:
    """A token of each row at temperature 1, from logits that are there already."""
    arrays = empty_arrays(StepShape(count, 1, count), 1, 1).rows
    arrays.temperature[:] = 1.0
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(count, model.vocabulary)) * 3)
    kernel, plain = jax.jit(partial(sample, compiled=True)), jax.jit(sample)
    values = logits.astype(jnp.float32)
    ours, theirs = take_turns(partial(kernel, values, arrays), partial(plain, values, arrays), runs)
    row(f"sampling, {count} rows", ours, theirs, values.nbytes, 0)


def take_turns(ours: Timed, theirs: Timed, runs: int) -> tuple[float, float]:
    """Least seconds of each."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs + 2):
        for side, call in zip(times, (ours, theirs), strict=True):
            start = time.perf_counter()
            jax.block_until_ready(call())
            side.append(time.perf_counter() - start)
    return min(times[0][2:]), min(times[1][2:])


def row(name: str, ours: float, theirs: float, moved: float, work: float) -> None:
    ratio, rate, speed = theirs / ours, moved / ours / 1e9, work / ours / 1e9
    print(
        f"{name:34}{ours * 1e3:10.2f}{theirs * 1e3:9.2f}{ratio:7.1f}{rate:7.1f}{speed:9.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
