"""Small pieces of a decoder layer. Shapes: T tokens, D width, K head size."""

import math

import jax
import jax.numpy as jnp

from model.spec import Activation, Rope


def rms_norm(x: jax.Array, scale: jax.Array | None, eps: float) -> jax.Array:
    """x[..., D] times its inverse root mean square times scale[D], in float32, cast to x.dtype.
    scale: None is ones."""
    x32 = x.astype(jnp.float32)
    variance = jnp.mean(x32 * x32, axis=-1, keepdims=True)
    normed = x32 * jax.lax.rsqrt(variance + eps)
    return (normed if scale is None else normed * scale.astype(jnp.float32)).astype(x.dtype)


def rope_frequencies(rope: Rope, head_dim: int) -> list[float]:
    """The K/2 angular frequencies, in radians a position."""
    frequencies = [rope.theta ** (-2 * i / head_dim) for i in range(head_dim // 2)]
    if rope.llama3 is not None:
        frequencies = [_llama3(f, rope) for f in frequencies]
    if rope.turning is not None:
        frequencies = [f if i < rope.turning else 0.0 for i, f in enumerate(frequencies)]
    return [f / rope.linear for f in frequencies]


def _llama3(frequency: float, rope: Rope) -> float:
    """Llama 3.1's rule: long wavelengths divided by the factor, short ones kept, a ramp between."""
    assert rope.llama3 is not None
    scaling = rope.llama3
    turns = scaling.original_context * frequency / (2 * math.pi)
    if turns < scaling.low_freq_factor:
        return frequency / scaling.factor
    if turns > scaling.high_freq_factor:
        return frequency
    smooth = (turns - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    return (1 - smooth) * frequency / scaling.factor + smooth * frequency


def rope_tables(rope: Rope, head_dim: int, positions: jax.Array) -> tuple[jax.Array, jax.Array]:
    """cos and sin, each [T, 1, K/2] float32, for positions [T]."""
    frequencies = jnp.asarray(rope_frequencies(rope, head_dim), jnp.float32)
    angles = positions.astype(jnp.float32)[..., None, None] * frequencies
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotates x[T, heads, K]; pairs are (i, i + K/2)."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


def capped(logits: jax.Array, cap: float | None) -> jax.Array:
    """cap * tanh(logits / cap), or the logits themselves."""
    return logits if cap is None else cap * jnp.tanh(logits / cap)


def gated(activation: Activation, gate: jax.Array, up: jax.Array) -> jax.Array:
    match activation:
        case "silu":
            return jax.nn.silu(gate) * up
        case "gelu_tanh":
            return jax.nn.gelu(gate, approximate=True) * up
