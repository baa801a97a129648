"""The arrays that a step reads beside parameters and pages. No jax: the host fills them."""

from typing import Any, NamedTuple, TypeAlias

Array: TypeAlias = Any
"""numpy on the host, traced by jax inside the step."""


class SamplingRows(NamedTuple):
    """Per output row, R rows. What else a row may ask for is in `model.engine.wishes`.

    live: [R] int32, negative is a padding row: its logits may be anything, its result is zeros.
    temperature, top_p, min_p: [R] float32. top_k: [R] int32, 0 is off. seed: [R, 2] uint32.
    position: [R] int32, of the token to be sampled. target: [R] int32, score this token instead
    of sampling, or -1.
    """

    live: Array

    temperature: Array
    top_k: Array
    top_p: Array
    min_p: Array
    seed: Array
    position: Array
    target: Array


class StepArrays(NamedTuple):
    """A flat, ragged batch of T = D + C tokens: D decode rows, then C prompt tokens in blocks.

    tokens, positions: [T] int32, position -1 is padding. feed: [D] int32, the row of the step
    before whose token is used instead, or -1. owner: [T] int32, whose row of the tables a token
    reads: its own for a decode row, one for all of a block. tables: per layer kind [S, W] int32.
    select: [R] int32, which of the T tokens get logits; -1 is a padding row.
    Of steps that read images: soft: [T] int32, which of the buffer's rows stands for the token, or
    -1. sees: [T] int32, the last position that it sees: an image's last, or its own.
    """

    tokens: Array
    positions: Array
    feed: Array
    owner: Array
    tables: tuple[Array, ...]
    select: Array
    rows: SamplingRows
    soft: Array | None = None
    sees: Array | None = None
