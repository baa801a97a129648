"""The step as a program: for the engine to run, or to be compiled ahead of time from shapes."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.stages import Wrapped

from model.engine.arrays import StepArrays
from model.engine.batch import empty_arrays
from model.engine.shapes import StepShape
from model.engine.step import Chosen, step, zero_cache
from model.kernels.backend import Backend
from model.nn.cache import Cache
from model.nn.params import Params, abstract_params
from model.parallel.mesh import Placement
from model.spec import ModelSpec

Abstract = tuple[Params, Cache, jax.ShapeDtypeStruct, StepArrays]
"""The step's arguments as shapes and dtypes, and where they lie if that is said."""


def step_program(
    spec: ModelSpec,
    backend: Backend,
    dtype: jnp.dtype,
    compiled: bool,
    placement: Placement | None,
) -> Wrapped:
    """`step` under jit, with its pages donated. placement: over several devices."""
    run = partial(step, spec, backend.attend, dtype, compiled)
    if placement is not None:
        run = partial(_placed_step, run, placement)
    return jax.jit(run, donate_argnums=(1,))


def abstract_arguments(
    spec: ModelSpec,
    backend: Backend,
    dtype: jnp.dtype,
    placement: Placement | None,
    *,
    shape: StepShape,
    max_rows: int,
    table_width: int,
    page_size: int,
    page_counts: tuple[int, ...],
) -> Abstract:
    """What the step of this shape is called with. page_counts: null pages included."""
    params = abstract_params(spec, dtype)
    cache = jax.eval_shape(
        partial(zero_cache, spec, page_counts, page_size, backend.storage, backend.layout)
    )
    arrays = jax.tree.map(
        lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype),
        empty_arrays(shape, len(spec.windows), table_width),
    )
    carry = jax.ShapeDtypeStruct((max_rows,), jnp.int32)
    if placement is None:
        return params, cache, carry, arrays
    return (
        placement.describe(params, placement.params(params)),
        placement.describe(cache, placement.cache(cache)),
        *placement.describe((carry, arrays), placement.everywhere),
    )


def _placed_step(
    run: partial[tuple[Cache, jax.Array, Chosen | None]],
    placement: Placement,
    params: Params,
    cache: Cache,
    carry: jax.Array,
    arrays: StepArrays,
) -> tuple[Cache, jax.Array, Chosen | None]:
    """The step, with what it returns kept where the next one takes it from."""
    cache, carry, chosen = run(params, cache, carry, arrays)
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
