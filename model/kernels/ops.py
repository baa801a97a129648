"""The compiled kernels as JAX functions, for CPU. `load_kernels` must have returned a library."""

import jax
import jax.numpy as jnp
import numpy as np

_NONE = np.zeros(0, np.float32)


def attention(
    qkv: jax.Array,
    pages: tuple[jax.Array, jax.Array],
    rope: tuple[jax.Array, jax.Array],
    table: jax.Array,
    positions: jax.Array,
    *,
    bias: jax.Array | None,
    norms: tuple[jax.Array, jax.Array] | None,
    scale: float,
    eps: float,
    window: int | None,
    dtype: jnp.dtype,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Everything between a layer's fused projection and its output projection, in one call.

    qkv: [B, Q, G, R + 2, K] float32. pages: keys and values [P, G, S, K], float32 or bfloat16 kept
    as uint16; updated in place when donated. rope: cos and sin [B, Q, 1, K/2] float32. table:
    [B, W], positions: [B, Q] int32, -1 for padding, which writes nothing and whose result is
    finite and meaningless. bias: [G, R + 2, K]; norms: scales of queries and keys, [K] each.
    Returns mixed values [B, Q, G, R, K] in `dtype`, and the pages.
    """
    B, Q, G, heads, K = qkv.shape
    k, v = pages
    q_norm, k_norm = norms or (_NONE, _NONE)
    call = jax.ffi.ffi_call(
        "pollux_attention",
        (
            jax.ShapeDtypeStruct((B, Q, G, heads - 2, K), dtype),
            jax.ShapeDtypeStruct(k.shape, k.dtype),
            jax.ShapeDtypeStruct(v.shape, v.dtype),
        ),
        input_output_aliases={6: 1, 7: 2},
    )
    mixed, k, v = call(
        qkv,
        _NONE if bias is None else bias,
        q_norm,
        k_norm,
        *rope,
        k,
        v,
        table,
        positions,
        scale=np.float32(scale),
        eps=np.float32(eps),
        window=np.int64(window or 0),
    )
    return mixed, k, v
