"""The step as a program: for the engine to run, or to be compiled ahead of time from shapes."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax.stages import Compiled

from model.engine.arrays import StepArrays
from model.engine.batch import empty_arrays
from model.engine.shapes import StepShape
from model.engine.step import Chosen, copy_pages, pooled_step, step, zero_cache
from model.kernels.backend import Backend
from model.kernels.packed import PackedParams
from model.nn.cache import Cache
from model.nn.params import Params, abstract_params
from model.parallel.cost import StepCost, cost_of
from model.parallel.mesh import Placement
from model.spec import ModelSpec

PageCounts = tuple[int, ...]
"""Pages of each layer kind, null pages included."""

Abstract = tuple[Params, Cache, jax.ShapeDtypeStruct, StepArrays]
"""The step's arguments as shapes and dtypes, and where they lie if that is said."""


@dataclass(frozen=True)
class Sizes:
    """What the step's shapes follow from, beside the model and the batch. table_width: pages of
    the longest sequence."""

    max_rows: int
    page_size: int
    table_width: int


class Program:
    """`step` for one model on one platform, with its pages donated.

    Shapes compile when they are first run, or ahead of that by `cost`, which keeps what it
    compiled. dtype: of queries, keys and values, and of weights where they are not packed.
    compiled: with the compiled CPU kernels. placement: over several devices, or with layouts of
    their own.
    """

    def __init__(
        self,
        spec: ModelSpec,
        backend: Backend,
        dtype: jnp.dtype,
        compiled: bool,
        placement: Placement | None,
        sizes: Sizes,
    ) -> None:
        self._spec, self._backend, self._dtype = spec, backend, dtype
        self._placement, self._sizes = placement, sizes
        self._precision = "highest" if dtype == jnp.float32 else "default"
        run = partial(step, spec, backend.attend, dtype, compiled)
        pool = partial(pooled_step, spec, backend.attend, dtype)
        if placement is not None:
            run = partial(_placed_step, run, placement)
            pool = partial(_placed_pool, pool, placement)
        self._jitted = jax.jit(run, donate_argnums=(1,))
        self._pool = jax.jit(pool, donate_argnums=(1,))
        self._copy = jax.jit(self._copied, donate_argnums=(0,))
        self._kept: dict[tuple[StepShape, PageCounts], Compiled] = {}

    def __call__(
        self,
        shape: StepShape,
        pages: PageCounts,
        params: Params | PackedParams,
        cache: Cache,
        carry: jax.Array,
        arrays: StepArrays,
        images: jax.Array | None = None,
    ) -> tuple[Cache, jax.Array, Chosen | None]:
        """One step; see `step`. pages: how many the cache has of each kind."""
        run = self._kept.get((shape, pages), self._jitted)
        if self._placement is not None:
            # Another program may have made it.
            carry = jax.device_put(carry, self._placement.everywhere)
        with jax.default_matmul_precision(self._precision):
            return run(params, cache, carry, arrays, images)

    def pool(
        self, params: Params | PackedParams, cache: Cache, arrays: StepArrays
    ) -> tuple[Cache, jax.Array]:
        """See `pooled_step`; the cache is donated."""
        with jax.default_matmul_precision(self._precision):
            return self._pool(params, cache, arrays)

    def on_one(self, carry: jax.Array, chosen: Chosen) -> tuple[jax.Array, Chosen]:
        """The same on the first device alone: what few steps need is not worth cutting."""
        if self._placement is None:
            return carry, chosen
        whole = jax.device_put((carry, chosen), self._placement.everywhere)
        return jax.tree.map(lambda array: array.addressable_data(0), whole)

    def cost(self, shape: StepShape, pages: PageCounts) -> StepCost:
        """What one step takes of each device, by compiling it. Weights must not be packed."""
        with jax.default_matmul_precision(self._precision):
            if shape.pooled:
                params, cache, _, arrays = self.arguments(shape, pages)
                return cost_of(self._pool.lower(params, cache, arrays).compile())
            images = self._images(shape)
            compiled = self._jitted.lower(*self.arguments(shape, pages), images).compile()
        if images is None:
            self._kept[shape, pages] = compiled
        return cost_of(compiled)

    def _images(self, shape: StepShape) -> jax.ShapeDtypeStruct | None:
        """The smallest buffer of soft tokens that a step of this shape may read."""
        vision = self._spec.vision
        if vision is None or not shape.images:
            return None
        size = (1, vision.tokens, self._spec.d_model)
        buffer = jax.ShapeDtypeStruct(size, self._dtype)
        if self._placement is None:
            return buffer
        described: jax.ShapeDtypeStruct = self._placement.describe(
            buffer, self._placement.everywhere
        )
        return described

    def arguments(self, shape: StepShape, pages: PageCounts) -> Abstract:
        """What the step is called with."""
        params = abstract_params(self._spec, self._dtype)
        cache = jax.eval_shape(partial(self._zeros, pages))
        carry = jax.ShapeDtypeStruct((self._sizes.max_rows,), jnp.int32)
        arrays = jax.tree.map(
            lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype),
            empty_arrays(shape, len(self._spec.windows), self._sizes.table_width),
        )
        placement = self._placement
        if placement is None:
            return params, cache, carry, arrays
        return (
            placement.describe(params, placement.params(params)),
            placement.describe(cache, placement.cache(cache)),
            *placement.describe((carry, arrays), placement.everywhere),
        )

    def copy_pages(self, cache: Cache, copies: tuple[tuple[jax.Array, jax.Array], ...]) -> Cache:
        """See `model.engine.step.copy_pages`; the cache is donated."""
        return self._copy(cache, copies)

    def empty_state(self, pages: PageCounts) -> tuple[Cache, jax.Array]:
        """Empty pages, and the carry of no step, where they are to lie."""
        carry = jnp.zeros(self._sizes.max_rows, jnp.int32)
        zeros = partial(self._zeros, pages)
        placement = self._placement
        if placement is None:
            return zeros(), carry
        shardings = placement.cache(jax.eval_shape(zeros))
        return jax.jit(zeros, out_shardings=shardings)(), jax.device_put(
            carry, placement.everywhere
        )

    def _copied(self, cache: Cache, copies: tuple[tuple[jax.Array, jax.Array], ...]) -> Cache:
        cache = copy_pages(self._spec, cache, copies)
        placement = self._placement
        if placement is None:
            return cache
        return jax.lax.with_sharding_constraint(cache, placement.cache(cache))

    def _zeros(self, pages: PageCounts) -> Cache:
        backend = self._backend
        return zero_cache(self._spec, pages, self._sizes.page_size, backend.storage, backend.layout)


def _placed_step(
    run: partial[tuple[Cache, jax.Array, Chosen | None]],
    placement: Placement,
    params: Params,
    cache: Cache,
    carry: jax.Array,
    arrays: StepArrays,
    images: jax.Array | None,
) -> tuple[Cache, jax.Array, Chosen | None]:
    """The step, with what it returns kept where the next one takes it from."""
    cache, carry, chosen = run(params, cache, carry, arrays, images)
    keep = jax.lax.with_sharding_constraint
    cache = keep(cache, placement.cache(cache))
    carry = keep(carry, placement.everywhere)
    if chosen is not None:
        chosen = Chosen(
            logits=keep(chosen.logits, placement.logits(chosen.logits)),
            inputs=keep(chosen.inputs, placement.everywhere),
            sampled=jax.tree.map(lambda x: keep(x, placement.everywhere), chosen.sampled),
        )
    return cache, carry, chosen


def _placed_pool(
    pool: partial[tuple[Cache, jax.Array]],
    placement: Placement,
    params: Params,
    cache: Cache,
    arrays: StepArrays,
) -> tuple[Cache, jax.Array]:
    """The pooled step, likewise; its sums are whole on each device."""
    cache, sums = pool(params, cache, arrays)
    keep = jax.lax.with_sharding_constraint
    return keep(cache, placement.cache(cache)), keep(sums, placement.everywhere)
