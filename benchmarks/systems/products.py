"""The bound: the model's matrix products alone, in this process.

What a step cannot go below without other weights; the ratio to it says how much all the rest
costs: attention, norms, sampling, scheduling.
"""

import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measurement as m
from benchmarks.measurement import Measurement
from benchmarks.systems.base import SystemFailed
from benchmarks.workloads import ONE, PATHS, Generate, Prefill, Workload
from model.kernels import ops
from model.kernels.library import load_kernels, multiplies_bytes
from model.kernels.packed import PackedMatrix, pack
from model.spec import ModelSpec

NAME = "bare products"
_RUNS = 7
# XLA's bfloat16 products of fewer rows are slower than those of eight.
_FEWEST_ROWS = 8


class Products:
    """Weights of the right shapes with nothing in them that matters, each layer its own.

    packed: eight-bit weights by the compiled kernels where they can be had.
    """

    def __init__(self, spec: ModelSpec, dtype: jnp.dtype, packed: bool, cache: Path | None) -> None:
        self._head = (spec.d_model, spec.vocab_size)
        self._layers = [
            shape
            for layer in spec.layers
            for shape in (
                (spec.d_model, (layer.heads + 2 * layer.kv_heads) * layer.head_dim),
                (layer.heads * layer.head_dim, spec.d_model),
                (spec.d_model, 2 * layer.d_ff),
                (layer.d_ff, spec.d_model),
            )
        ]
        library = load_kernels(cache) if packed else None
        self._packed = multiplies_bytes(library)
        random = np.random.default_rng(0)

        def weights(shape: tuple[int, int]) -> "jax.Array | PackedMatrix":
            values = random.standard_normal((shape[1], shape[0]), np.float32)
            if library is not None and self._packed:
                return pack(library, values)
            return jnp.asarray(values.T, dtype)

        self._weights = [weights(shape) for shape in (*self._layers, self._head)]
        self._dtype = jnp.float32 if self._packed else dtype

    def seconds(self, rows: int, head: bool) -> float:
        """Of one pass over `rows` rows, the least of several."""
        rows = rows if self._packed else max(_FEWEST_ROWS, rows)
        shapes = [*self._layers, self._head] if head else self._layers
        weights = self._weights[: len(shapes)]
        inputs = {shape[0]: jnp.ones((rows, shape[0]), self._dtype) for shape in shapes}

        @jax.jit
        def products(
            inputs: dict[int, jax.Array], weights: list[jax.Array | PackedMatrix]
        ) -> list[jax.Array]:
            done = []
            for shape, weight in zip(shapes, weights, strict=True):
                x = inputs[shape[0]]
                if isinstance(weight, PackedMatrix):
                    done.append(ops.linear(x, weight, shape[1]))
                else:
                    done.append(jnp.dot(x, weight, preferred_element_type=jnp.float32))
            return done

        return _least(lambda: jax.block_until_ready(products(inputs, weights)))


class Bound:
    """products: called for them once the engine has started."""

    name = NAME
    against: str | None = "Pollux, no server"

    def __init__(self, products: Callable[[], Products | None]) -> None:
        self._products = products

    def start(self) -> float:
        return 0.0

    def supports(self, workload: Workload) -> bool:
        if isinstance(workload, Prefill):
            return True
        return isinstance(workload, Generate) and workload in (ONE, PATHS)

    def prepare(self, workload: Workload) -> None:
        pass

    def run(self, workload: Workload) -> Measurement:
        products = self._products()
        if products is None:
            raise SystemFailed("the engine is not running, whose products are to be timed")
        if isinstance(workload, Prefill):
            seconds = products.seconds(min(workload.prompt, 512), head=False)
            seconds *= max(1.0, workload.prompt / 512)
            return Measurement({m.PREFILL_RATE: workload.prompt / seconds, m.SECONDS: seconds})
        assert isinstance(workload, Generate)
        seconds = products.seconds(workload.rows, head=True)
        rate = workload.rows / seconds
        return Measurement({m.STEP_MS: 1e3 * seconds, m.DECODE_RATE: rate})

    def pids(self) -> list[int]:
        return []

    def stop(self) -> None:
        pass


def _least(run: Callable[[], object]) -> float:
    run()
    times = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)
