"""A decoder layer's matrix products with what surrounds them, over whichever format of weights.

Norms and the residual stream are float32; a product runs in its weights' dtype and sums in
float32. Rows whose `live` is negative are padding: what comes out for them is never read, and
compiled kernels leave it unwritten.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from model.kernels import ops
from model.kernels.packed import PackedMatrix
from model.nn.ops import capped, gated, rms_norm
from model.spec import Activation

Weights = jax.Array | PackedMatrix


def embed(table: Weights, tokens: jax.Array, live: jax.Array, width: int, by: float) -> jax.Array:
    """Rows tokens[T] of the table [V, D], times `by`: [T, D] float32."""
    if isinstance(table, PackedMatrix):
        # Families were trained with this factor rounded to bfloat16.
        scale = float(np.asarray(by, jnp.bfloat16))
        return ops.embed(tokens, table, width, scale, live)
    # Rounded to the weights' dtype first, as the families were trained.
    return (table[tokens] * jnp.asarray(by, table.dtype)).astype(jnp.float32)


def project(
    x: jax.Array,
    weights: Weights,
    outputs: int,
    live: jax.Array,
    *,
    norm: jax.Array | None = None,
    activation: Activation | None = None,
    post_norm: jax.Array | None = None,
    residual: jax.Array | None = None,
    eps: float = 0.0,
) -> jax.Array:
    """x[T, inputs] float32 times weights [inputs..., outputs...]: [T, outputs] float32.

    norm: [inputs], RMSNorm of x first. activation: the weights are [inputs, 2, outputs], gates and
    ups, and the result is gated. post_norm: [outputs], RMSNorm of the product. residual:
    [T, outputs], added at the end.
    """
    if isinstance(weights, PackedMatrix):
        return ops.linear(
            x,
            weights,
            outputs,
            live=live,
            norm=norm,
            activation=activation,
            post_norm=post_norm,
            residual=residual,
            eps=eps,
        )
    if norm is not None:
        x = rms_norm(x, norm, eps)
    x = x.astype(weights.dtype)
    if activation is None:
        matrix = _as_matrix(weights, x.shape[-1])
        y = jnp.einsum("TI,IO->TO", x, matrix, preferred_element_type=jnp.float32)
    else:
        # Not as one matrix: hidden units that are cut over devices would have to be gathered.
        y = jnp.einsum("TI,IAO->TAO", x, weights, preferred_element_type=jnp.float32)
        y = gated(activation, y[:, 0], y[:, 1])
    if post_norm is not None:
        y = rms_norm(y, post_norm, eps)
    return y if residual is None else residual + y


def logits(
    x: jax.Array,
    head: Weights,
    vocabulary: int,
    live: jax.Array,
    norm: jax.Array,
    eps: float,
    cap: float | None = None,
) -> jax.Array:
    """Logits [R, V] float32 of rows of the residual stream [R, D]; head: [V, D]. cap: see
    `model.nn.ops.capped`."""
    if isinstance(head, PackedMatrix):
        return capped(ops.linear(x, head, vocabulary, live=live, norm=norm, eps=eps), cap)
    hidden = rms_norm(x, norm, eps).astype(head.dtype)
    raw = jnp.einsum("RD,VD->RV", hidden, head, preferred_element_type=jnp.float32)
    return capped(raw, cap)


def _as_matrix(weights: jax.Array, inputs: int) -> jax.Array:
    """Weights [inputs..., outputs...] as [inputs, outputs]."""
    return weights.reshape(inputs, math.prod(weights.shape) // inputs)
