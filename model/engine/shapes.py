"""The few shapes that the step is compiled for, and which one a plan takes. No jax."""

from dataclasses import dataclass, replace

from model.engine.config import EngineConfig
from model.nn.blocks import blocks_of, in_blocks

_MOST_PROMPTS = 8
# Of pooled steps: each has a row of the page tables, which the host sends with every step.
_MOST_POOLED = 64
_SCORE_CHUNK = 64
# XLA's products of fewer than four bfloat16 rows are slow on CPUs, and those of four round
# otherwise than those of more: from eight on, a row's result is the same in every batch.
_SMALLEST_BATCH = 8
_SMALLEST_CHUNK = 16
# Logits of more rows, of the largest vocabularies, are too large for memory that is kept: a fresh
# block of it at each step costs 3 ms and more.
_ROWS_WITHOUT_FAULTS = 32


@dataclass(frozen=True, order=True)
class StepShape:
    """rows: decode tokens, each of a sequence of its own. chunk: prompt tokens behind them, in
    blocks. outputs: how many of all these tokens get logits. pooled: hidden states are summed up,
    and there are neither rows nor outputs. images: the chunk may hold soft tokens."""

    rows: int
    chunk: int
    outputs: int
    pooled: bool = False
    images: bool = False

    @property
    def tokens(self) -> int:
        return self.rows + self.chunk

    @property
    def prompts(self) -> int:
        """Most sequences whose prompts are in the chunk."""
        return min(blocks_of(self.chunk), _MOST_POOLED if self.pooled else _MOST_PROMPTS)

    @property
    def sequences(self) -> int:
        return self.rows + self.prompts

    def holds(self, rows: int, chunk: int, prompts: int, outputs: int) -> bool:
        return (
            rows <= self.rows
            and chunk <= self.chunk
            and prompts <= self.prompts
            and outputs <= self.outputs
        )

    def __str__(self) -> str:
        if self.pooled:
            return f"{self.chunk} pooled prompt tokens"
        images = " with images" if self.images else ""
        return f"{self.rows} rows + {self.chunk} prompt tokens{images}, {self.outputs} outputs"


@dataclass(frozen=True)
class StepShapes:
    """decode, prefill and mixed steps; score: a chunk whose every token gets logits; pooled;
    images: those of prefill and mixed steps whose chunk has room for an image, once more.

    mixed may be empty: then a step is either of rows or of a chunk. images is empty for models that
    take text only: their steps, and those of text alone, have no part for images.
    """

    decode: tuple[StepShape, ...]
    prefill: tuple[StepShape, ...]
    mixed: tuple[StepShape, ...]
    score: StepShape
    pooled: tuple[StepShape, ...]
    images: tuple[StepShape, ...] = ()

    @classmethod
    def of(
        cls, config: EngineConfig, context: int, rows: int, *, live_rows: bool, mixed: bool
    ) -> "StepShapes":
        """live_rows: a padding row costs nothing, so that few shapes serve for all."""
        chunk = in_blocks(min(config.prefill_chunk, context))
        score = StepShape(0, min(_SCORE_CHUNK, chunk), min(_SCORE_CHUNK, chunk))
        if live_rows:
            batches = sorted({min(rows, _ROWS_WITHOUT_FAULTS), rows})
            return cls(
                decode=tuple(StepShape(r, 0, r) for r in batches),
                prefill=(),
                mixed=tuple(StepShape(r, chunk, r) for r in batches),
                score=score,
                pooled=(StepShape(0, chunk, 0, pooled=True),),
            )
        batches = _doublings(_SMALLEST_BATCH, rows, factor=2)
        chunks = _doublings(_SMALLEST_CHUNK, chunk, factor=4)
        few = sorted({batches[0], batches[-1]})
        pairs = [StepShape(r, c, r) for r in few for c in chunks[1:] or chunks] if mixed else []
        return cls(
            decode=tuple(StepShape(r, 0, r) for r in batches),
            prefill=tuple(StepShape(0, c, 0) for c in chunks),
            mixed=tuple(pairs),
            score=score,
            pooled=tuple(StepShape(0, c, 0, pooled=True) for c in chunks),
        )

    @property
    def all(self) -> tuple[StepShape, ...]:
        """But for those with images, and pooled ones, which are programs of their own."""
        return (*self.decode, *self.prefill, *self.mixed, self.score)

    @property
    def largest(self) -> StepShape:
        """The one that needs most memory for itself: logits are larger than all else."""
        return max(self.all, key=lambda shape: (shape.outputs, shape.tokens))

    @property
    def chunk(self) -> int:
        """Most prompt tokens of a step, in whole blocks."""
        return max(shape.chunk for shape in self.all)

    def with_images(self, tokens: int) -> "StepShapes":
        """The same for a model whose images have so many soft tokens.

        Raises ValueError where no chunk has room for one.
        """
        images = tuple(
            replace(shape, images=True)
            for shape in (*self.prefill, *self.mixed)
            if shape.chunk >= in_blocks(tokens)
        )
        if not images:
            raise ValueError(
                f"prefill_chunk must be at least {in_blocks(tokens)}: "
                "an image of this model is read in one step"
            )
        return replace(self, images=images)

    def pick(
        self, rows: int, chunk: int, prompts: int, outputs: int, *, images: bool = False
    ) -> StepShape:
        """The smallest shape that holds so much. chunk: tokens in whole blocks."""
        shapes = self.images if images else self.all
        fitting = [shape for shape in shapes if shape.holds(rows, chunk, prompts, outputs)]
        return min(fitting, key=lambda shape: (shape.tokens, shape.outputs))

    def pick_pooled(self, chunk: int, prompts: int) -> StepShape:
        """The smallest pooled shape that holds so much."""
        return min(shape for shape in self.pooled if shape.holds(0, chunk, prompts, 0))


def _doublings(first: int, last: int, factor: int) -> list[int]:
    """first, first * factor, ... up to the first that reaches `last`, which replaces it."""
    sizes = [first]
    while sizes[-1] < last:
        sizes.append(min(sizes[-1] * factor, last))
    return sizes
