"""One step, as the scheduler describes it to the runner. Host values only."""

from dataclasses import dataclass, field

from model.engine.pages import PageCopy
from model.engine.sequences import Path, Sequence, Trunk


@dataclass(frozen=True)
class Chunk:
    """Positions [start, start + count) of a sequence, all of one batch row."""

    sequence: Sequence
    start: int
    count: int


@dataclass(frozen=True)
class Output:
    """A place whose logits are wanted: batch row, offset in its chunk, and what for.

    path: sample this path's next token. target: score this token id instead (prompt logprobs).
    """

    row: int
    offset: int
    path: Path | None = None
    trunk: Trunk | None = None
    target: int = -1


@dataclass(frozen=True)
class StepPlan:
    """decode: every chunk is one token. A step without chunks only copies pages."""

    chunks: list[Chunk]
    outputs: list[Output]
    copies: list[PageCopy] = field(default_factory=list)
    decode: bool = False


@dataclass(frozen=True)
class RowResult:
    """What the device said of one output row. top: (id, logprob), likeliest first."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
