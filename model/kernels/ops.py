"""The compiled kernels as JAX functions, for CPU. `load_kernels` must have returned a library."""

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels.attention import attention as attention
from model.kernels.packed import PackedMatrix
from model.spec import Activation

_NONE = np.zeros(0, np.float32)
_ALL = np.zeros(0, np.int32)
_GATES: dict[Activation, int] = {"silu": 1, "gelu_tanh": 2}


def linear(
    x: jax.Array,
    weights: PackedMatrix,
    outputs: int,
    *,
    live: jax.Array | None = None,
    norm: jax.Array | None = None,
    activation: Activation | None = None,
    post_norm: jax.Array | None = None,
    residual: jax.Array | None = None,
    eps: float = 0.0,
) -> jax.Array:
    """x[..., D] times packed weights: [..., outputs], float32.

    live: [...] int32; a row where it is negative costs nothing and its result is left as the
    memory was, to be read by nobody. None: all rows are live.
    norm: [D], RMSNorm of x first. Rows are then quantised to 8 bits by groups of 32.
    activation: the weights are gates and ups (`pack_gated`), the result is gated, [..., F].
    post_norm: [outputs], RMSNorm of the product. residual: [..., outputs], added at the end.
    """
    call = jax.ffi.ffi_call(
        "pollux_linear", jax.ShapeDtypeStruct((*x.shape[:-1], outputs), jnp.float32)
    )
    return call(
        x,
        weights.blob,
        weights.unit,
        _ALL if live is None else live,
        *(_NONE if array is None else array for array in (norm, post_norm, residual)),
        eps=np.float32(eps),
        gate=np.int32(0 if activation is None else _GATES[activation]),
    )


def embed(
    tokens: jax.Array,
    table: PackedMatrix,
    width: int,
    scale: float,
    live: jax.Array | None = None,
) -> jax.Array:
    """Rows tokens[...] of a packed table, times scale: [..., width] float32. live: see `linear`."""
    call = jax.ffi.ffi_call(
        "pollux_embed", jax.ShapeDtypeStruct((*tokens.shape, width), jnp.float32)
    )
    marks = _ALL if live is None else live
    return call(tokens, table.blob, table.unit, marks, scale=np.float32(scale))


def draw(
    logits: jax.Array,
    live: jax.Array,
    temperature: jax.Array,
    uniform: jax.Array,
    top_k: jax.Array,
    top_p: jax.Array,
    min_p: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """A token id of each row of logits[R, V] float32, and the log of the sum of its exponentials.

    live: [R] int32, see `linear`. temperature: [R], 0 takes the likeliest id, the first of equals;
    otherwise the distribution is inverted in id order at uniform[R]. Before that, filters: min_p,
    a share of the likeliest id's weight; then top_k, a number of ids; then top_p, a share of the
    mass that is left; 0, 0 and 1 are off, ids as likely as the last that stays stay too. Never an
    id whose weight is zero. Where a logit is NaN or infinite, the greatest one's id, or 0.
    """
    R = logits.shape[0]
    call = jax.ffi.ffi_call(
        "pollux_draw",
        (jax.ShapeDtypeStruct((R,), jnp.int32), jax.ShapeDtypeStruct((R,), jnp.float32)),
    )
    token, log_total = call(logits, live, temperature, uniform, top_k, top_p, min_p)
    return token, log_total
