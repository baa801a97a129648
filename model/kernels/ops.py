"""The compiled kernels as JAX functions, for CPU. `load_kernels` must have returned a library."""

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels.attention import attention as attention
from model.kernels.packed import PackedMatrix
from model.spec import Activation

_NONE = np.zeros(0, np.float32)
_GATES: dict[Activation, int] = {"silu": 1, "gelu_tanh": 2}


def linear(
    x: jax.Array,
    weights: PackedMatrix,
    outputs: int,
    *,
    norm: jax.Array | None = None,
    activation: Activation | None = None,
    post_norm: jax.Array | None = None,
    residual: jax.Array | None = None,
    eps: float = 0.0,
) -> jax.Array:
    """x[..., D] times packed weights: [..., outputs], float32.

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
        *(_NONE if array is None else array for array in (norm, post_norm, residual)),
        eps=np.float32(eps),
        gate=np.int32(0 if activation is None else _GATES[activation]),
    )


def embed(tokens: jax.Array, table: PackedMatrix, width: int, scale: float) -> jax.Array:
    """Rows tokens[...] of a packed table, times scale: [..., width] float32."""
    call = jax.ffi.ffi_call(
        "pollux_embed", jax.ShapeDtypeStruct((*tokens.shape, width), jnp.float32)
    )
    return call(tokens, table.blob, table.unit, scale=np.float32(scale))


def draw(
    logits: jax.Array, temperature: jax.Array, uniform: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """A token id of each row of logits[R, V] float32, and the log of the sum of its exponentials.

    temperature: [R], 0 takes the likeliest id, the first of equals; otherwise the distribution is
    inverted in id order at uniform[R]. Never an id whose weight is zero.
    """
    R = logits.shape[0]
    call = jax.ffi.ffi_call(
        "pollux_draw",
        (jax.ShapeDtypeStruct((R,), jnp.int32), jax.ShapeDtypeStruct((R,), jnp.float32)),
    )
    token, log_total = call(logits, temperature, uniform)
    return token, log_total
