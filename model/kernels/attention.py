"""Attention of the compiled kernels as a JAX function, for CPU."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

_NONE = np.zeros(0, np.float32)
_PAGES_AT = 9  # In the arguments.


def attention(
    qkv: jax.Array,
    pages: Sequence[jax.Array | None],
    rope: tuple[jax.Array, jax.Array],
    table: jax.Array,
    owner: jax.Array,
    positions: jax.Array,
    *,
    bias: jax.Array | None,
    norms: tuple[jax.Array, jax.Array] | None,
    scale: float,
    eps: float,
    window: int | None,
    dtype: jnp.dtype,
) -> tuple[jax.Array, ...]:
    """Everything between a layer's fused projection and its output projection, in one call.

    qkv: [T, G, R + 2, K] float32, a flat batch of tokens. pages: keys and values [P, G, S, K],
    float32 or bfloat16 kept as uint16, or int8 with the float32 scales of both, [P, G, S] each (K
    up to 512, S up to 256); None among them is left out. Updated in place when donated. Page 0 is
    the null page.
    rope: cos and sin [T, 1, K/2] float32. table: [N, W] int32 pages of N sequences. owner: [T]
    int32, each token's row of the table; the tokens of a sequence are neighbours, and only a
    sequence that has one token may share the page that it writes to with nobody. positions: [T]
    int32, -1 for padding, which costs nothing: it writes nothing and its result is left unwritten.
    So is a token's whose owner or position is not in the table. bias: [G, R + 2, K]; norms: scales
    of queries and keys, [K] each.
    Returns mixed values [T, G, R, K] in `dtype`, and the pages that were given.
    """
    T, G, heads, K = qkv.shape
    kept = [array for array in pages if array is not None]
    q_norm, k_norm = norms or (_NONE, _NONE)
    call = jax.ffi.ffi_call(
        "pollux_attention",
        (
            jax.ShapeDtypeStruct((T, G, heads - 2, K), dtype),
            *(jax.ShapeDtypeStruct(array.shape, array.dtype) for array in kept),
        ),
        input_output_aliases={_PAGES_AT + i: 1 + i for i in range(len(kept))},
    )
    mixed, *updated = call(
        qkv,
        _NONE if bias is None else bias,
        q_norm,
        k_norm,
        *rope,
        table,
        owner,
        positions,
        *kept,
        scale=np.float32(scale),
        eps=np.float32(eps),
        window=np.int64(window or 0),
    )
    return mixed, *updated
