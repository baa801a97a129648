"""What rows ask for beside the plain draw, as arrays for `model.engine.resampling`. No jax.

Most steps have no such row: then there is nothing to fill and nothing more to run.

Steps are dispatched before the last one's tokens are known here, so a path's counts end before its
newest token, the one whose logits are sampled from. The device has that token and counts it.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from model.contract import MAX_LOGIT_BIAS, MAX_STOP_IDS
from model.engine.arrays import Array
from model.engine.plan import Output
from model.engine.sequences import Path

PENALTY_ENTRIES = 4096
"""Entries of one call; as many calls as it takes, so no shape depends on the context."""

_FORBIDDEN = -1e9
_LEAST_REPETITION_PENALTY = 1e-6  # Smaller ones would overflow float32, and say the same.


class WishRows(NamedTuple):
    """Per output row, R rows. Rows that ask nothing have the neutral values of `neutral_rows`.

    again: [R] bool, draw this row's token anew from logits changed by what follows.
    presence, frequency, repetition: [R] float32. input_is_output: [R] bool, the token whose logits
    these are was generated, not part of the prompt. bias_ids: [R, E] int32, distinct in a row, -1
    is unused; bias: [R, E] float32. masked: [R] bool, the row's allowed-token mask holds.
    top: [R] int32, how many likeliest tokens are wanted. certain: [R] bool, certainty is wanted.
    """

    again: Array
    presence: Array
    frequency: Array
    repetition: Array
    input_is_output: Array
    bias_ids: Array
    bias: Array
    masked: Array
    top: Array
    certain: Array


class Held(NamedTuple):
    """Tokens that a row holds, but for its newest if that was generated; [n] each.

    ids: int32, distinct. counts: int32, how often it was generated. in_prompt: bool.
    """

    ids: np.ndarray
    counts: np.ndarray
    in_prompt: np.ndarray


class PenaltyEntries(NamedTuple):
    """What rows hold, [PENALTY_ENTRIES] each, in no order.

    owner: int32, the row. ids: int32; the vocabulary's size is padding. Others: as in `Held`.
    """

    owner: Array
    ids: Array
    counts: Array
    in_prompt: Array


@dataclass(frozen=True)
class Wishes:
    """One step's. held: by row, of those with penalties. allowed: [R, ceil(V / 32)] uint32, bit
    t % 32 of word t // 32 allows token t; None where no row is masked."""

    rows: WishRows
    held: dict[int, Held] = field(default_factory=dict)
    allowed: np.ndarray | None = None

    @property
    def asking(self) -> np.ndarray:
        """[n] int, rows that wish for something, in order."""
        return np.flatnonzero(self.rows.again | (self.rows.top > 0) | self.rows.certain)


def neutral_rows(R: int, bias_entries: int) -> WishRows:
    """Rows that ask nothing."""
    return WishRows(
        again=np.zeros(R, bool),
        presence=np.zeros(R, np.float32),
        frequency=np.zeros(R, np.float32),
        repetition=np.ones(R, np.float32),
        input_is_output=np.zeros(R, bool),
        bias_ids=np.full((R, bias_entries), -1, np.int32),
        bias=np.zeros((R, bias_entries), np.float32),
        masked=np.zeros(R, bool),
        top=np.zeros(R, np.int32),
        certain=np.zeros(R, bool),
    )


def bias_entries(eos: Sequence[int]) -> int:
    """Room for a row's biases and for all ids that min_tokens forbids."""
    return MAX_LOGIT_BIAS + MAX_STOP_IDS + len(eos)


def mask_words(vocab: int) -> int:
    return -(-vocab // 32)


class TokenCounts:
    """Which tokens a path holds and how often it generated them, kept up token by token."""

    def __init__(self, path: Path) -> None:
        self.end = path.base
        self.ids = array("i")
        self.counts = array("i")
        if path.request.sampling.repetition_penalty != 1:
            # The whole prompt: that the device marks its last token once more changes nothing.
            self.ids.extend(dict.fromkeys(path.tokens[: path.base]))
            self.counts.extend([0] * len(self.ids))
        self._prompt = len(self.ids)
        self._slots = {token: slot for slot, token in enumerate(self.ids)}

    def advance(self, tokens: Sequence[int], end: int) -> None:
        """Counts tokens[:end] where that has not been done."""
        for token in tokens[self.end : end]:
            slot = self._slots.setdefault(token, len(self.ids))
            if slot == len(self.ids):
                self.ids.append(token)
                self.counts.append(0)
            self.counts[slot] += 1
        self.end = max(self.end, end)

    def held(self) -> Held:
        """A copy of what has been counted."""
        ids, counts = np.array(self.ids, np.int32), np.array(self.counts, np.int32)
        return Held(ids, counts, np.arange(len(ids)) < self._prompt)


class WishFiller:
    """Fills a model's wishes step by step; remembers counts of paths that live."""

    def __init__(self, vocab: int, eos: Sequence[int]) -> None:
        self._vocab = vocab
        self._eos = tuple(eos)
        self._counts: WeakKeyDictionary[Path, TokenCounts] = WeakKeyDictionary()

    def fill(
        self,
        outputs: Sequence[Output],
        R: int,
        masks: Mapping[int, np.ndarray] | None = None,
    ) -> Wishes | None:
        """None when nobody asks anything.

        R: rows of the step's shape. All tokens of a path but its newest must be known. masks:
        allowed tokens by index of the output, [ceil(V / 32)] uint32.
        """
        masks = masks or {}
        if not masks and not any(_asks(output) for output in outputs):
            return None
        rows = neutral_rows(R, bias_entries(self._eos))
        held: dict[int, Held] = {}
        for at, output in enumerate(outputs):
            if output.path is None:
                rows.top[at] = output.trunk.alternatives if output.trunk else 0
                continue
            self._fill_row(rows, at, output.path, output.position)
            if output.path.request.sampling.penalises:
                held[at] = self._held(output.path, output.position)
        allowed = None
        if masks:
            allowed = np.zeros((R, mask_words(self._vocab)), np.uint32)
            for at, mask in masks.items():
                allowed[at] = mask
                rows.masked[at] = rows.again[at] = True
        wishes = Wishes(rows, held, allowed)
        return wishes if len(wishes.asking) else None

    def _fill_row(self, rows: WishRows, at: int, path: Path, position: int) -> None:
        sampling = path.request.sampling
        rows.top[at] = sampling.logprobs or 0
        rows.certain[at] = sampling.certainty
        biases: dict[int, float] = {}
        for token, bias in sampling.logit_bias:
            biases[token] = biases.get(token, 0.0) + bias
        if position - path.base < sampling.min_tokens:
            ends = (*sampling.stop_ids, *(() if sampling.ignore_eos else self._eos))
            biases |= dict.fromkeys(ends, _FORBIDDEN)
        if biases:
            rows.again[at] = True
            rows.bias_ids[at, : len(biases)] = list(biases)
            rows.bias[at, : len(biases)] = list(biases.values())
        if sampling.penalises:
            rows.again[at] = True
            rows.presence[at] = sampling.presence_penalty
            rows.frequency[at] = sampling.frequency_penalty
            rows.repetition[at] = max(sampling.repetition_penalty, _LEAST_REPETITION_PENALTY)
            rows.input_is_output[at] = position > path.base

    def _held(self, path: Path, position: int) -> Held:
        counts = self._counts.get(path)
        if counts is None:
            counts = self._counts[path] = TokenCounts(path)
        counts.advance(path.tokens, position - 1)
        return counts.held()


def penalty_entries(
    held: Mapping[int, Held], rows: Sequence[int] | np.ndarray, vocab: int
) -> list[PenaltyEntries]:
    """Of the given rows, which are numbered from 0 in their order here; as many as it takes."""
    found = [(owner, held[row]) for owner, row in enumerate(rows) if row in held]
    total = sum(len(row.ids) for _, row in found)
    room = -(-total // PENALTY_ENTRIES) * PENALTY_ENTRIES
    every = PenaltyEntries(
        owner=np.zeros(room, np.int32),
        ids=np.full(room, vocab, np.int32),
        counts=np.zeros(room, np.int32),
        in_prompt=np.zeros(room, bool),
    )
    first = 0
    for owner, row in found:
        place = slice(first, first + len(row.ids))
        every.owner[place] = owner
        every.ids[place], every.counts[place], every.in_prompt[place] = row
        first += len(row.ids)
    return [
        PenaltyEntries(*(values[i : i + PENALTY_ENTRIES] for values in every))
        for i in range(0, room, PENALTY_ENTRIES)
    ]


def _asks(output: Output) -> bool:
    if output.path is None:
        return output.trunk is not None and output.trunk.alternatives > 0
    sampling = output.path.request.sampling
    return bool(
        sampling.logprobs
        or sampling.certainty
        or sampling.logit_bias
        or sampling.min_tokens
        or sampling.penalises
    )
