"""What a compiled step takes of a device, as the compiler says it."""

import math
from dataclasses import dataclass
from typing import Any

from jax.stages import Compiled


@dataclass(frozen=True)
class StepCost:
    """Of one device. Bytes: arguments (weights, pages, step arrays), outputs, how many of these are
    arguments' own memory (donated pages), temporaries, code. flops and moved: operations and bytes
    read or written in one step. seconds: the compiler's estimate of the operations that it knows,
    one after another, or None where it gives none. Pallas kernels are not counted in these."""

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    flops: float
    moved: float
    seconds: float | None

    @property
    def beside(self) -> int:
        """Bytes that the step needs beside its arguments."""
        return self.outputs - self.aliased + self.temporaries + self.code

    @property
    def memory(self) -> int:
        """Bytes while the step runs."""
        return self.arguments + self.beside


def cost_of(compiled: Compiled) -> StepCost:
    memory: Any = compiled.memory_analysis()
    costs = compiled.cost_analysis() or {}
    return StepCost(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=float(costs.get("flops", 0.0)),
        moved=float(costs.get("bytes accessed", 0.0)),
        seconds=_seconds(costs),
    )


def _seconds(costs: dict[str, float]) -> float | None:
    """The compiler counts every operation whose cost it does not know (collectives, asynchronous
    copies) as minus one second. No step takes a second of known ones: the rest is what they do."""
    total = costs.get("optimal_seconds")
    return None if total is None else total - math.floor(total)
