"""Next tokens from logits, on the device, as a pure function of (logits, seed, position).

One uniform number per row is drawn from a counter-based key and the distribution is inverted over
the vocabulary in id order, block by block. That reads the logits a few times; noise for every
logit would cost twice the output head on a CPU. Filters sit behind a condition on values, so they
cost nothing where nobody asks, and nothing recompiles. What is asked for more rarely is a program
of its own (`model.engine.resampling`).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from model.engine.arrays import SamplingRows
from model.kernels import ops

_BLOCK = 512
_TINY_TEMPERATURE = 1e-5


class Sampled(NamedTuple):
    """token[R] int32; logprob[R] float32, of the token by the logits as they came, before
    temperature and filters; log_total[R] float32, the log of the sum of their exponentials.
    Zeros in padding rows."""

    token: jax.Array
    logprob: jax.Array
    log_total: jax.Array


def sample(logits: jax.Array, rows: SamplingRows, compiled: bool = False) -> Sampled:
    """logits: [R, V] float32. compiled: by the CPU kernel."""
    live = rows.live >= 0
    # What a padding row holds must not switch anything on.
    rows = rows._replace(
        temperature=jnp.where(live, rows.temperature, 0),
        top_k=jnp.where(live, rows.top_k, 0),
        top_p=jnp.where(live, rows.top_p, 1),
        min_p=jnp.where(live, rows.min_p, 0),
    )
    if compiled:
        token, log_total = ops.draw(
            logits,
            rows.live,
            rows.temperature,
            _uniform(rows.seed, rows.position),
            rows.top_k,
            rows.top_p,
            rows.min_p,
        )
    else:
        log_total = jax.nn.logsumexp(logits, axis=-1)
        token = _choose(logits, rows)
    token = jnp.where(rows.target >= 0, rows.target, token)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    return Sampled(
        token=jnp.where(live, token, 0),
        logprob=jnp.where(live, chosen - log_total, 0),
        log_total=jnp.where(live, log_total, 0),
    )


def carried(carry: jax.Array, tokens: jax.Array) -> jax.Array:
    """carry[N] int32 with a step's tokens[R] in it, as the next step is fed from it."""
    count = min(len(carry), len(tokens))
    return carry.at[:count].set(tokens[:count])


def _choose(logits: jax.Array, rows: SamplingRows) -> jax.Array:
    """Token ids [R], greedy or drawn, filters applied."""
    greedy = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return lax.cond(
        jnp.any(rows.temperature > 0),
        lambda: jnp.where(rows.temperature > 0, _draw(logits, rows), greedy),
        lambda: greedy,
    )


def _filtered(rows: SamplingRows) -> jax.Array:
    return (rows.top_k > 0) | (rows.top_p < 1) | (rows.min_p > 0)


def _draw(logits: jax.Array, rows: SamplingRows) -> jax.Array:
    scaled = logits / jnp.maximum(rows.temperature, _TINY_TEMPERATURE)[:, None]
    # The likeliest token has weight 1, so weights are in [0, 1] and never all vanish.
    weights = jnp.exp(scaled - scaled.max(axis=-1, keepdims=True))
    weights = lax.cond(jnp.any(_filtered(rows)), lambda: _filter(weights, rows), lambda: weights)
    return _invert(weights, _uniform(rows.seed, rows.position))


def _uniform(seed: jax.Array, position: jax.Array) -> jax.Array:
    def one(words: jax.Array, at: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(words, impl="threefry2x32")
        return jax.random.uniform(jax.random.fold_in(key, at), dtype=jnp.float32)

    return jax.vmap(one)(seed, position)


def _filter(weights: jax.Array, rows: SamplingRows) -> jax.Array:
    """min-p, then top-k, then top-p of what is left; ties at a threshold are all kept.

    Thresholds are found by bisection over the bit patterns of float32, which order as the values
    do: 31 halvings are exact, without a sort.
    """
    weights = jnp.where(weights >= rows.min_p[:, None], weights, 0.0)
    vocabulary = weights.shape[-1]
    k = jnp.where(rows.top_k > 0, jnp.minimum(rows.top_k, vocabulary), vocabulary)

    def keeps_k(threshold: jax.Array) -> jax.Array:
        return jnp.sum(weights >= threshold[:, None], axis=-1) >= k

    weights = jnp.where(weights >= _largest(keeps_k, len(weights))[:, None], weights, 0.0)
    # Rounding must not ask for more mass than there is.
    mass = rows.top_p * jnp.sum(weights, axis=-1) * (1 - 1e-6)

    def keeps_mass(threshold: jax.Array) -> jax.Array:
        kept = jnp.where(weights >= threshold[:, None], weights, 0.0)
        return jnp.sum(kept, axis=-1) >= mass

    threshold = jnp.where(rows.top_p < 1, _largest(keeps_mass, len(weights)), 0.0)
    return jnp.where(weights >= threshold[:, None], weights, 0.0)


def _largest(holds: Callable[[jax.Array], jax.Array], rows: int) -> jax.Array:
    """The largest float32 in [0, 1] per row for which a falling condition holds."""
    one = jnp.int32(0x3F800000)

    def halve(_: jax.Array, bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low + 1) // 2
        ok = holds(lax.bitcast_convert_type(middle, jnp.float32))
        return jnp.where(ok, middle, low), jnp.where(ok, high, middle - 1)

    low = jnp.zeros(rows, jnp.int32)
    bounds = lax.fori_loop(0, 31, halve, (low, jnp.full(rows, one)))
    return lax.bitcast_convert_type(bounds[0], jnp.float32)


def _invert(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """The id at which the cumulative weight passes uniform[R] * total. Never one of weight 0."""
    blocks = in_blocks(weights, 0)
    block = blocks.shape[-1]
    sums = blocks.sum(axis=-1)
    cumulative = jnp.cumsum(sums, axis=-1)
    goal = uniform * cumulative[:, -1]
    index = _passing(cumulative, sums, goal)
    before = jnp.take_along_axis(cumulative - sums, index[:, None], axis=-1)[:, 0]
    inside = jnp.take_along_axis(blocks, index[:, None, None], axis=1)[:, 0]
    offset = _passing(jnp.cumsum(inside, axis=-1), inside, goal - before)
    return (index * block + offset).astype(jnp.int32)


def in_blocks(values: jax.Array, padding: float) -> jax.Array:
    """[R, V] as [R, N, B], filled up with `padding`; without a copy for most vocabularies."""
    R, V = values.shape
    block = next((size for size in (_BLOCK, 256, 128, 64) if V % size == 0), _BLOCK)
    if V % block:
        values = jnp.pad(values, ((0, 0), (0, -V % block)), constant_values=padding)
    return values.reshape(R, -1, block)


def _passing(cumulative: jax.Array, weights: jax.Array, goal: jax.Array) -> jax.Array:
    """First index where cumulative > goal; the last one with weight if rounding left none."""
    at = jnp.sum(cumulative <= goal[:, None], axis=-1)
    positions = jnp.arange(weights.shape[-1])
    last = jnp.max(jnp.where(weights > 0, positions, 0), axis=-1)
    at = jnp.minimum(at, last)
    # Rounding may also stop just before, on an entry without weight: move to the next with one.
    following = jnp.where((weights > 0) & (positions >= at[:, None]), positions, last[:, None])
    return jnp.min(following, axis=-1)
