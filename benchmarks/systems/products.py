"""The bound: the model's matrix products alone, in this process.

What a step cannot go below without other weights; the ratio to it says how much all the rest
costs: attention, norms, sampling, scheduling.
"""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks import measurement as m
from benchmarks.measurement import Measurement
from benchmarks.systems.base import SystemFailed
from benchmarks.workloads import ONE, PATHS, Generate, Prefill, Workload
from model.kernels import ops
from model.kernels.packed import PackedMatrix, PackedParams
from model.nn.params import Params
from model.spec import ModelSpec

NAME = "bare products"
_RUNS = 7
# XLA's bfloat16 products of fewer rows are slower than those of eight.
_FEWEST_ROWS = 8


class Products:
    """The engine's own weights, in the format in which it has them."""

    def __init__(self, spec: ModelSpec, params: Params | PackedParams) -> None:
        self._weights: list[tuple[int, int, jax.Array | PackedMatrix]] = []
        for layer, weights in zip(spec.layers, params.layers, strict=True):
            heads = layer.kv_heads * layer.projected * layer.head_dim
            mixed = layer.heads * layer.head_dim
            self._add(spec.d_model, heads, weights.qkv)
            self._add(mixed, spec.d_model, weights.o)
            self._add(spec.d_model, 2 * layer.d_ff, weights.gate_up)
            self._add(layer.d_ff, spec.d_model, weights.down)
        head = params.head
        transposed = head if isinstance(head, PackedMatrix) else jnp.asarray(head).T
        self._add(spec.d_model, spec.vocab_size, transposed)
        self._packed = isinstance(params, PackedParams)
        self._dtype = jnp.float32 if self._packed else params.embed.dtype

    def _add(self, inputs: int, outputs: int, weights: jax.Array | PackedMatrix) -> None:
        if not isinstance(weights, PackedMatrix):
            weights = weights.reshape(inputs, outputs)
        self._weights.append((inputs, outputs, weights))

    def seconds(self, rows: int, head: bool) -> float:
        """Of one pass over `rows` rows, the least of several."""
        rows = rows if self._packed else max(_FEWEST_ROWS, rows)
        used = self._weights if head else self._weights[:-1]
        inputs = {width: jnp.ones((rows, width), self._dtype) for width, _, _ in used}

        @jax.jit
        def products(
            inputs: dict[int, jax.Array], weights: list[jax.Array | PackedMatrix]
        ) -> list[jax.Array]:
            done = []
            for (width, outputs, _), weight in zip(used, weights, strict=True):
                x = inputs[width]
                if isinstance(weight, PackedMatrix):
                    done.append(ops.linear(x, weight, outputs))
                else:
                    done.append(jnp.dot(x, weight, preferred_element_type=jnp.float32))
            return done

        weights = [weight for _, _, weight in used]
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
