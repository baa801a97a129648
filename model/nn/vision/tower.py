"""SigLIP as Gemma 3 uses it: patches, a Transformer over all of them, average pooling, projection.

After Gemma 3's report (arXiv 2503.19786) and SigLIP's (arXiv 2303.15343); transformers is the
oracle. Norms, softmax and the residual stream are float32; products run in the weights' dtype and
sum in float32.
"""

from functools import partial

import jax
import jax.numpy as jnp

from model.nn.ops import rms_norm
from model.nn.vision.params import VisionLayer, VisionParams
from model.spec import VisionSpec

_QUERIES = 512
"""Patches whose scores are kept at once: those of 4096 with one another would take 1 GiB."""


def soft_tokens(spec: VisionSpec, params: VisionParams, pixels: jax.Array) -> jax.Array:
    """pixels: [N, H, H, 3] float32, normalised as the model was trained ((x / 255 - .5) / .5), H
    the specification's image_size. Returns [N, tokens, D] float32, D the decoder's width."""
    N, P, W = len(pixels), spec.patch_size, spec.d_model
    x = pixels.reshape(N, spec.side, P, spec.side, P, 3)
    x = x.transpose(0, 1, 3, 2, 4, 5).reshape(N, spec.side**2, P * P * 3)
    x = _product(x, params.patches, params.patch_bias) + params.positions
    for layer in params.layers:
        x = _layer(spec, layer, x)
    x = _layer_norm(x, params.last_scale, params.last_bias, spec.norm_eps)
    across, pool = spec.side // spec.pool, spec.pool
    x = x.reshape(N, across, pool, across, pool, W).mean(axis=(2, 4))
    x = rms_norm(x.reshape(N, spec.tokens, W), params.soft_norm, spec.norm_eps)
    return _product(x, params.projection)


# Traced once for all layers; the compiler inlines it.
@partial(jax.jit, static_argnums=(0,))
def _layer(spec: VisionSpec, layer: VisionLayer, x: jax.Array) -> jax.Array:
    """x: [N, S, W] float32, the residual stream."""
    N, S, W = x.shape
    normed = _layer_norm(x, layer.scale_1, layer.bias_1, spec.norm_eps).astype(layer.qkv.dtype)
    qkv = jnp.einsum("NSW,WAO->ANSO", normed, layer.qkv, preferred_element_type=jnp.float32)
    qkv = (qkv + layer.qkv_bias[:, None, None]).astype(layer.qkv.dtype)
    q, k, v = qkv.reshape(3, N, S, spec.heads, W // spec.heads)
    x = x + _product(_attention(q, k, v).reshape(N, S, W), layer.o, layer.o_bias)
    hidden = _layer_norm(x, layer.scale_2, layer.bias_2, spec.norm_eps)
    hidden = jax.nn.gelu(_product(hidden, layer.up, layer.up_bias), approximate=True)
    return x + _product(hidden, layer.down, layer.down_bias)


def _attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Of every patch to every patch; q, k and v: [N, S, H, K]. Returns the same in float32."""
    N, S, H, K = q.shape
    width = max(n for n in range(1, min(S, _QUERIES) + 1) if S % n == 0)

    def mix(queries: jax.Array) -> jax.Array:
        scores = jnp.einsum("NQHK,NSHK->NHQS", queries, k, preferred_element_type=jnp.float32)
        weights = jax.nn.softmax(scores * K**-0.5, axis=-1).astype(v.dtype)
        return jnp.einsum("NHQS,NSHK->NQHK", weights, v, preferred_element_type=jnp.float32)

    parts = jax.lax.map(mix, q.reshape(N, S // width, width, H, K).swapaxes(0, 1))
    return parts.swapaxes(0, 1).reshape(N, S, H, K)


def _product(x: jax.Array, weights: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """x[N, S, I] times weights[I, O]: [N, S, O] float32."""
    y = jnp.einsum(
        "NSI,IO->NSO", x.astype(weights.dtype), weights, preferred_element_type=jnp.float32
    )
    return y if bias is None else y + bias


def _layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = jnp.mean(centred * centred, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + eps) * scale + bias
