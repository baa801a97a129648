"""The engine's step compiled for TPUs that are not here, by the compiler that they have.

Needs libtpu (the wheel is enough, no TPU) and nothing of a model but its specification.
"""

import importlib.util
import math
import os
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
from jax.experimental import topologies

from model.engine.config import EngineConfig
from model.engine.memory import MemoryPlan, page_bytes, plan_memory
from model.engine.program import Program, Sizes
from model.engine.shapes import StepShape
from model.kernels.backend import backend_for
from model.parallel.cost import StepCost
from model.parallel.mesh import Placement, over
from model.spec import ModelSpec

_HOST = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Nothing is run: a second compiler, or a server that has the chips, is in nobody's way.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


@dataclass(frozen=True)
class Chip:
    """topology: the smallest slice of such chips, as the compiler names it. accelerator: as the
    runtime names it. memory: bytes of one chip that programs can use."""

    topology: str
    accelerator: str
    memory: int


CHIPS = {
    "v5e": Chip("v5e:2x2", "v5litepod-4", 15 * 2**30 + 3 * 2**28),
    "v6e": Chip("v6e:2x2", "v6e-4", 31 * 2**30 + 2**28),
}


class NoCompiler(RuntimeError):
    """libtpu is not installed, or cannot be used here. One line, for a person."""


def compiler_installed() -> bool:
    return importlib.util.find_spec("libtpu") is not None


def placement_on(chip: str, devices: int = 1) -> Placement:
    """Over the first so many of the chips of a slice of four. Raises NoCompiler."""
    if not compiler_installed():
        raise NoCompiler("compiling for TPU needs libtpu: pip install libtpu")
    kind = CHIPS[chip]
    # Otherwise libtpu asks the cloud's metadata server which machine this is.
    for name, value in {**_HOST, "TPU_ACCELERATOR_TYPE": kind.accelerator}.items():
        os.environ.setdefault(name, value)
    try:
        found: Any = topologies.get_topology_desc(kind.topology, platform="tpu")
    except Exception as error:
        raise NoCompiler(f"libtpu cannot be used here: {error}") from error
    return over(found.devices[:devices])


def step_cost(
    spec: ModelSpec,
    placement: Placement,
    config: EngineConfig,
    shape: StepShape,
    *,
    context: int,
    rows: int,
    kv_bytes: int,
    dtype: jnp.dtype = jnp.dtype(jnp.bfloat16),
) -> tuple[StepCost, MemoryPlan]:
    """Compiles one step shape for the placement's devices. rows: paths that decode together.
    kv_bytes: for pages, on each device. What is said holds for one device.

    Raises NotEnoughMemory when not even one path fits kv_bytes, and what the compiler raises
    when a step does not fit the chip.
    """
    backend = backend_for("tpu", spec, dtype, config.page_size, mesh=placement.mesh)
    memory = plan_memory(spec, config, rows, context, backend.layout, kv_bytes)
    sizes = Sizes(rows, config.page_size, -(-context // config.page_size))
    program = Program(spec, backend, dtype, False, placement, sizes)
    cost = program.cost(shape, memory.with_null_pages)
    if spec.tied_head:
        # One array, given twice.
        embed = program.arguments(shape, memory.with_null_pages)[0].embed
        cost = replace(cost, arguments=cost.arguments - _bytes_of_share(embed))
    null_pages = sum(page_bytes(spec, config, backend.layout))
    return cost, replace(memory, bytes=memory.bytes + null_pages)


def _bytes_of_share(array: Any) -> int:
    """Of an array's part on one device."""
    part: tuple[int, ...] = array.sharding.shard_shape(array.shape)
    return math.prod(part) * int(array.dtype.itemsize)
