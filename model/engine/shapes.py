"""The few shapes that the step is compiled for, and which one a plan takes. No jax."""

from dataclasses import dataclass

from model.engine.config import EngineConfig

_SCORE_CHUNK = 64
_SMALLEST_CHUNK = 16
# XLA's products of fewer than four bfloat16 rows are slow on CPUs, and those of four round
# otherwise than those of more: from eight on, a row's result is the same in every batch.
_SMALLEST_BATCH = 8


@dataclass(frozen=True, order=True)
class StepShape:
    """rows x width token positions, and how many of them get logits."""

    rows: int
    width: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.width}, {self.outputs} outputs"


@dataclass(frozen=True)
class StepShapes:
    """decode: one token a row. prefill: a chunk of one sequence, no logits. score: all logits."""

    decode: tuple[StepShape, ...]
    prefill: tuple[StepShape, ...]
    score: StepShape

    @classmethod
    def of(cls, config: EngineConfig, context: int, packed: bool = False) -> "StepShapes":
        """packed: for the compiled kernels, where a row costs and results in the same anyhow."""
        smallest = 1 if packed else _SMALLEST_BATCH
        batches = _doublings(smallest, config.max_rows, factor=2)
        chunks = _doublings(_SMALLEST_CHUNK, min(config.prefill_chunk, context), factor=4)
        score = max(_SMALLEST_CHUNK, min(_SCORE_CHUNK, chunks[-1]))
        return cls(
            decode=tuple(StepShape(rows, 1, rows) for rows in batches),
            prefill=tuple(StepShape(1, width, 0) for width in chunks),
            score=StepShape(1, score, score),
        )

    @property
    def all(self) -> tuple[StepShape, ...]:
        return (*self.decode, *self.prefill, self.score)

    def pick(self, decode: bool, rows: int, width: int, outputs: int) -> StepShape:
        """The smallest shape that holds a step of so many rows, positions and outputs."""
        if decode:
            return next(shape for shape in self.decode if shape.rows >= rows)
        if outputs:
            return self.score
        return next(shape for shape in self.prefill if shape.width >= width)


def _doublings(first: int, last: int, factor: int) -> list[int]:
    """first, first * factor, ... up to the first that reaches `last`, which replaces it."""
    sizes = [first]
    while sizes[-1] < last:
        sizes.append(min(sizes[-1] * factor, last))
    return sizes
