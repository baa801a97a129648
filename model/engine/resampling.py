"""The second program of a step, run over the step's own logits where a row wishes for more.

Penalties, biases, forbidden and allowed tokens change logits and the row is drawn anew, by the
same function of (logits, seed, position); rows that wish for none of these keep what they had, bit
for bit. Logprobs are of the logits as they came. Every operation is on one row alone.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from model.contract import MAX_LOGPROBS
from model.engine.arrays import SamplingRows
from model.engine.sampling import Sampled, carried, in_blocks, sample
from model.engine.step import Chosen
from model.engine.wishes import (
    Held,
    PenaltyEntries,
    Wishes,
    WishRows,
    bias_entries,
    mask_words,
    neutral_rows,
    penalty_entries,
)


class Resampled(NamedTuple):
    """token[R] int32, logprob[R] float32. top_ids int32, top_logprobs float32: [R, MAX_LOGPROBS]
    (or the vocabulary's size), likeliest first, zeros in rows that want none. certainty[R] float32,
    likewise."""

    token: jax.Array
    logprob: jax.Array
    top_ids: jax.Array | np.ndarray
    top_logprobs: jax.Array | np.ndarray
    certainty: jax.Array | np.ndarray


class Resampler:
    """Compiled once for a model's vocabulary; takes the rows that wish for something out of a
    step's, `group` at a time, so that a step costs by them, and no result depends on the others."""

    def __init__(
        self,
        vocab: int,
        eos: tuple[int, ...],
        compiled: bool,
        group: int | None = None,
        used: int | None = None,
    ) -> None:
        """group: by default a few rows on a CPU, more where a call costs more than its rows.
        used: how many ids stand for tokens, where the logits' last ones are padding."""
        if group is None:
            group = 8 if jax.default_backend() == "cpu" else 32
        self._vocab = vocab
        self._group = group
        self._bias_entries = bias_entries(eos)
        self._take = jax.jit(_take)
        self._penalise = jax.jit(penalise)
        self._resample = jax.jit(partial(resample, compiled=compiled, used=used or vocab))
        self._put = jax.jit(_put)
        # Kept on the device: with a large vocabulary it is most of what a step would send.
        everything = np.full((group, mask_words(vocab)), 2**32 - 1, np.uint32)
        self._all_allowed = jax.device_put(everything)

    def warm_up(self, carry: jax.Array, chosen: Chosen, rows: SamplingRows) -> None:
        """Compiles what steps of this shape may run."""
        wishes = Wishes(neutral_rows(len(chosen.inputs), self._bias_entries))
        # On several devices, what one group gives the next may lie elsewhere than at first.
        wishes.rows.top[: 2 * self._group + 1] = 1
        one = np.zeros(1, np.int32)
        wishes.held[0] = Held(one, one, one > 0)
        self(carry, chosen, rows, wishes)

    def __call__(
        self, carry: jax.Array, chosen: Chosen, rows: SamplingRows, wishes: Wishes
    ) -> tuple[Resampled, jax.Array]:
        """chosen: what the step gave for `rows`. Returns the carry with the tokens of now, too."""
        R, asking = len(chosen.inputs), wishes.asking
        top = min(MAX_LOGPROBS, self._vocab)
        result = Resampled(
            chosen.sampled.token,
            chosen.sampled.logprob,
            np.zeros((R, top), np.int32),
            np.zeros((R, top), np.float32),
            np.zeros(R, np.float32),
        )
        for first in range(0, len(asking), self._group):
            part = asking[first : first + self._group]
            carry, result = self._part(carry, result, chosen, rows, wishes, part)
        return result, carry

    def _part(
        self,
        carry: jax.Array,
        result: Resampled,
        chosen: Chosen,
        rows: SamplingRows,
        wishes: Wishes,
        part: np.ndarray,
    ) -> tuple[jax.Array, Resampled]:
        padding = (0, self._group - len(part))
        # Padding reads the part's first row, is dead, and is written nowhere.
        source = np.pad(part, padding, constant_values=part[0])
        target = np.pad(part, padding, constant_values=len(chosen.inputs))
        wanted = SamplingRows(*(values[source] for values in rows))
        wanted.live[len(part) :] = -1
        wished = WishRows(*(values[source] for values in wishes.rows))
        allowed = self._all_allowed if wishes.allowed is None else wishes.allowed[source]
        logits, inputs, plain = self._take(chosen, source)
        # Nobody, as the device says it: one program serves with penalties and without.
        changed, seen = logits, inputs < 0
        for entries in penalty_entries(wishes.held, part, self._vocab):
            changed, seen = self._penalise(changed, seen, entries, wished, inputs)
        again = self._resample(logits, changed, seen, wanted, plain, wished, allowed, inputs)
        put: tuple[jax.Array, Resampled] = self._put(carry, result, again, target)
        return put


def _take(chosen: Chosen, source: jax.Array) -> Chosen:
    return jax.tree.map(lambda values: values[source], chosen)


def _put(
    carry: jax.Array, result: Resampled, part: Resampled, target: jax.Array
) -> tuple[jax.Array, Resampled]:
    pairs = zip(result, part, strict=True)
    result = Resampled(*(jnp.asarray(old).at[target].set(new, mode="drop") for old, new in pairs))
    return carried(carry, result.token), result


def penalise(
    logits: jax.Array,
    seen: jax.Array,
    entries: PenaltyEntries,
    wishes: WishRows,
    inputs: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Penalties of some entries, with the inputs counted where they are among them; seen[R] bool:
    where they were."""
    owner = entries.owner
    newest = entries.ids == inputs[owner]
    generated = wishes.input_is_output[owner]
    after = _penalised(
        logits.at[owner, entries.ids].get(mode="clip"),
        entries.counts + (newest & generated),
        entries.in_prompt | (newest & ~generated),
        wishes.presence[owner],
        wishes.frequency[owner],
        wishes.repetition[owner],
    )
    return logits.at[owner, entries.ids].set(after, mode="drop"), seen.at[owner].max(newest)


def resample(
    logits: jax.Array,
    changed: jax.Array,
    seen: jax.Array,
    rows: SamplingRows,
    plain: Sampled,
    wishes: WishRows,
    allowed: jax.Array,
    inputs: jax.Array,
    compiled: bool = False,
    used: int | None = None,
) -> Resampled:
    """changed[R, V]: logits with the penalties of all entries; seen[R]: see `penalise`. used: the
    first so many of V stand for tokens; all if None."""
    live = rows.live >= 0
    again = wishes.again & live

    def draw_again() -> jax.Array:
        adjusted = adjust(changed, seen, wishes, allowed, inputs)
        drawn = sample(adjusted, rows._replace(live=jnp.where(again, rows.live, -1)), compiled)
        return jnp.where(again, drawn.token, plain.token)

    token = lax.cond(jnp.any(again), draw_again, lambda: plain.token)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    logprob = jnp.where(again, chosen - plain.log_total, plain.logprob)
    top_ids, top_logprobs = _alternatives(logits, plain.log_total, (wishes.top > 0) & live)
    certainty = _certainties(logits[:, :used], wishes.certain & live)
    return Resampled(token, logprob, top_ids, top_logprobs, certainty)


def adjust(
    changed: jax.Array, seen: jax.Array, wishes: WishRows, allowed: jax.Array, inputs: jax.Array
) -> jax.Array:
    """The logits that rows are drawn from: what `penalise` left to do, biases, masks."""
    penalised = _penalise_inputs(changed, seen, wishes, inputs)
    return _masked(_biased(penalised, wishes), wishes.masked, allowed)


def _penalised(
    logits: jax.Array,
    counts: jax.Array,
    in_prompt: jax.Array,
    presence: jax.Array,
    frequency: jax.Array,
    repetition: jax.Array,
) -> jax.Array:
    repeated = jnp.where(logits > 0, logits / repetition, logits * repetition)
    logits = jnp.where(in_prompt | (counts > 0), repeated, logits)
    return logits - presence * (counts > 0) - frequency * counts


def _penalise_inputs(
    logits: jax.Array, seen: jax.Array, wishes: WishRows, inputs: jax.Array
) -> jax.Array:
    """Inputs that are nowhere among the entries."""
    R, V = logits.shape
    row = jnp.arange(R)
    after = _penalised(
        logits.at[row, inputs].get(mode="clip"),
        wishes.input_is_output.astype(jnp.int32),
        ~wishes.input_is_output,
        wishes.presence,
        wishes.frequency,
        wishes.repetition,
    )
    return logits.at[row, jnp.where(seen, V, inputs)].set(after, mode="drop")


def _biased(logits: jax.Array, wishes: WishRows) -> jax.Array:
    row = jnp.arange(logits.shape[0])[:, None]
    ids = jnp.where(wishes.bias_ids < 0, logits.shape[-1], wishes.bias_ids)
    return logits.at[row, ids].add(wishes.bias, mode="drop")


def _masked(logits: jax.Array, masked: jax.Array, allowed: jax.Array) -> jax.Array:
    """A mask that allows nothing restricts nothing. It is stronger than a forbidden token: where
    only such are allowed, one of them is drawn."""
    V = logits.shape[-1]
    used = np.full(allowed.shape[-1], 2**32 - 1, np.uint32)
    used[-1] >>= -V % 32
    allowed = allowed & used
    holds = masked & jnp.any(allowed != 0, axis=-1)

    def restrict() -> jax.Array:
        bits = (allowed[:, :, None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
        possible = bits.reshape(len(allowed), -1)[:, :V] > 0
        return jnp.where(possible | ~holds[:, None], logits, -jnp.inf)

    return lax.cond(jnp.any(holds), restrict, lambda: logits)


def _alternatives(
    logits: jax.Array, log_total: jax.Array, wanted: jax.Array
) -> tuple[jax.Array, jax.Array]:
    R, count = logits.shape[0], min(MAX_LOGPROBS, logits.shape[-1])

    def best() -> tuple[jax.Array, jax.Array]:
        values, ids = likeliest(logits, count)
        logprobs = values - log_total[:, None]
        return jnp.where(wanted[:, None], ids, 0), jnp.where(wanted[:, None], logprobs, 0)

    def none() -> tuple[jax.Array, jax.Array]:
        return jnp.zeros((R, count), jnp.int32), jnp.zeros((R, count), jnp.float32)

    return lax.cond(jnp.any(wanted), best, none)


def _certainties(logits: jax.Array, wanted: jax.Array) -> jax.Array:
    """KL(U || softmax(logits[R, V])) in nats, [R]."""

    def measured() -> jax.Array:
        spread = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
        return jnp.where(wanted, spread - np.log(logits.shape[-1]).astype(np.float32), 0)

    return lax.cond(jnp.any(wanted), measured, lambda: jnp.zeros(len(logits), jnp.float32))


def likeliest(logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """The `count` largest of each row of logits[R, V] and their ids, of equals the first.

    They are all in the `count` blocks with the largest maxima: seven times as fast on a CPU as
    looking at everything.
    """
    blocks = in_blocks(logits, -jnp.inf)
    R, _, size = blocks.shape
    chosen = lax.top_k(blocks.max(axis=-1), min(count, blocks.shape[1]))[1]
    chosen = jnp.sort(chosen, axis=-1)
    candidates = jnp.take_along_axis(blocks, chosen[:, :, None], axis=1).reshape(R, -1)
    values, at = lax.top_k(candidates, count)
    ids = jnp.take_along_axis(chosen, at // size, axis=-1) * size + at % size
    return values, ids.astype(jnp.int32)
