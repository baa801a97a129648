"""One step, as the scheduler describes it to the runner, and what comes out. Host values only."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from model.engine.images import Image, Images, images_between
from model.engine.pages import PageCopy
from model.engine.sequences import Path, Sequence, Trunk
from model.nn.blocks import in_blocks


@dataclass(frozen=True, eq=False)
class Chunk:
    """Positions [start, start + count) of a sequence.

    feed: the row of the step before whose sampled token stands at `start`, when the host does not
    know it yet; -1 when it does.
    """

    sequence: Sequence
    start: int
    count: int
    feed: int = -1

    @property
    def images(self) -> Images:
        """Those among its positions."""
        return images_between(self.sequence.images, self.start, self.start + self.count)


@dataclass(frozen=True, eq=False)
class Output:
    """A place whose logits are wanted: a chunk, an offset in it, and what for.

    path: sample this path's next token. trunk, target: score this token id of its prompt instead.
    """

    chunk: Chunk
    offset: int
    path: Path | None = None
    trunk: Trunk | None = None
    target: int = -1

    @property
    def position(self) -> int:
        """Where the token stands that is sampled or scored here."""
        return self.chunk.start + self.offset + 1


@dataclass(frozen=True, eq=False)
class StepPlan:
    """rows: one token each, of running paths. chunks: of prompts. outputs: those of rows first.

    pooled: hidden states of the chunks are summed up, and there is nothing but chunks.
    """

    rows: list[Chunk]
    chunks: list[Chunk]
    outputs: list[Output]
    copies: list[PageCopy] = field(default_factory=list)
    pooled: bool = False

    @property
    def chunk_tokens(self) -> int:
        """Tokens of all chunks, each in whole blocks."""
        return sum(in_blocks(chunk.count) for chunk in self.chunks)

    @property
    def everything(self) -> list[Chunk]:
        return [*self.rows, *self.chunks]

    @property
    def images(self) -> list[Image]:
        """Those that the chunks hold, each of them whole."""
        return [image for chunk in self.chunks for image in chunk.images]


@dataclass(frozen=True)
class RowResult:
    """What the device said of one output row. top: (id, logprob), likeliest first. certainty: see
    `TokenLogprob`, None where it was not asked for."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    certainty: float | None = None


Results = Callable[[], list[RowResult]]
"""Waits for a step and says what came out: one result for each of the plan's outputs, in order."""
Sums = Callable[[], list[np.ndarray]]
"""The same of a pooled step: for each of the plan's chunks the sums of its blocks."""


class Runner(Protocol):
    """Runs planned steps on the device, one after the other."""

    def run(self, plan: StepPlan) -> Results:
        """Sends the step on its way. The plan's sequences are read before this returns."""
        ...

    def pool(self, plan: StepPlan) -> Sums:
        """The same for a pooled plan."""
        ...
