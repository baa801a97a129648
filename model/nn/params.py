"""Parameters as pytrees of arrays, and how a checkpoint's tensors become them.

Projections that read the same input are fused, grouped so that tensor parallelism can still cut
them: qkv by KV head (that head's queries, its key, its value), gate_up by hidden unit.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.spec import LayerSpec, ModelSpec


class LayerParams(NamedTuple):
    """One layer. G KV heads, R queries per KV head, K head size, F hidden units, D width.

    qkv: [D, G, R + 2, K]; qkv_bias: [G, R + 2, K]; o: [G, R, K, D]; gate_up: [D, 2, F];
    down: [F, D]; norms: [D], q_norm and k_norm: [K]. Fields the family does not have are None.
    """

    attn_norm: jax.Array
    qkv: jax.Array
    o: jax.Array
    mlp_norm: jax.Array
    gate_up: jax.Array
    down: jax.Array
    qkv_bias: jax.Array | None = None
    q_norm: jax.Array | None = None
    k_norm: jax.Array | None = None
    post_attn_norm: jax.Array | None = None
    post_mlp_norm: jax.Array | None = None


class Params(NamedTuple):
    """embed: [V, D]; head: [V, D], the same array when tied; final_norm: [D]."""

    embed: jax.Array
    head: jax.Array
    final_norm: jax.Array
    layers: tuple[LayerParams, ...]


Read = Callable[[str], np.ndarray]


class Place(Protocol):
    """Moves arrays to the devices where they are to lie."""

    def layer(self, layer: LayerParams) -> LayerParams: ...

    def field(self, name: str, array: jax.Array) -> jax.Array:
        """name: of a field of Params."""


def load_params(
    checkpoint: Checkpoint,
    dtype: jnp.dtype,
    progress: Callable[[float], None] = lambda fraction: None,
    place: Place | None = None,
) -> Params:
    """Reads every tensor of the checkpoint onto the default device, as `dtype` (norms float32).

    place: takes each from there to where it is to lie, so that no device ever holds them all.
    """
    spec = checkpoint.spec
    count = len(spec.layers) + 1
    layers = []
    for index, layer in enumerate(spec.layers):
        loaded = _load_layer(checkpoint.tensor, spec, layer, index, dtype)
        layers.append(loaded if place is None else place.layer(loaded))
        progress((index + 1) / count)

    def field(name: str, dtype: jnp.dtype) -> jax.Array:
        array = jnp.asarray(checkpoint.tensor(name), dtype)
        return array if place is None else place.field(name, array)

    embed = field("embed", dtype)
    head = embed if spec.tied_head else field("head", dtype)
    final_norm = field("final_norm", jnp.dtype(jnp.float32))
    progress(1.0)
    return Params(embed, head, final_norm, tuple(layers))


def _load_layer(
    read: Read, spec: ModelSpec, layer: LayerSpec, index: int, dtype: jnp.dtype
) -> LayerParams:
    def weight(name: str) -> np.ndarray:
        return read(f"layers.{index}.{name}")

    def norm(name: str) -> jax.Array:
        return jnp.asarray(weight(name), jnp.float32)

    G, R, K, D = layer.kv_heads, layer.queries_per_kv, layer.head_dim, spec.d_model
    qkv = np.concatenate(
        [
            weight("q").reshape(G, R, K, D),
            weight("k").reshape(G, 1, K, D),
            weight("v").reshape(G, 1, K, D),
        ],
        axis=1,
    )
    bias = None
    if spec.qkv_bias:
        parts = [
            weight("q_bias").reshape(G, R, K),
            weight("k_bias").reshape(G, 1, K),
            weight("v_bias").reshape(G, 1, K),
        ]
        bias = jnp.asarray(np.concatenate(parts, axis=1), jnp.float32)
    gate_up = np.stack([weight("gate"), weight("up")])
    return LayerParams(
        attn_norm=norm("attn_norm"),
        qkv=jnp.asarray(qkv.transpose(3, 0, 1, 2), dtype),
        o=jnp.asarray(weight("o").reshape(D, G, R, K).transpose(1, 2, 3, 0), dtype),
        mlp_norm=norm("mlp_norm"),
        gate_up=jnp.asarray(gate_up.transpose(2, 0, 1), dtype),
        down=jnp.asarray(weight("down").T, dtype),
        qkv_bias=bias,
        q_norm=norm("q_norm") if spec.qk_norm else None,
        k_norm=norm("k_norm") if spec.qk_norm else None,
        post_attn_norm=norm("post_attn_norm") if spec.post_norms else None,
        post_mlp_norm=norm("post_mlp_norm") if spec.post_norms else None,
    )


def abstract_params(spec: ModelSpec, dtype: jnp.dtype) -> Params:
    """What `load_params` returns, as shapes and dtypes; a tied head is the same object."""

    def matrix(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    def vector(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def layer_of(layer: LayerSpec) -> LayerParams:
        G, R, K, F = layer.kv_heads, layer.queries_per_kv, layer.head_dim, layer.d_ff
        return LayerParams(
            attn_norm=vector(D),
            qkv=matrix(D, G, R + 2, K),
            o=matrix(G, R, K, D),
            mlp_norm=vector(D),
            gate_up=matrix(D, 2, F),
            down=matrix(F, D),
            qkv_bias=vector(G, R + 2, K) if spec.qkv_bias else None,
            q_norm=vector(K) if spec.qk_norm else None,
            k_norm=vector(K) if spec.qk_norm else None,
            post_attn_norm=vector(D) if spec.post_norms else None,
            post_mlp_norm=vector(D) if spec.post_norms else None,
        )

    V, D = spec.vocab_size, spec.d_model
    embed = matrix(V, D)
    head = embed if spec.tied_head else matrix(V, D)
    return Params(embed, head, vector(D), tuple(map(layer_of, spec.layers)))


def parameter_count(spec: ModelSpec) -> int:
    """Weights of the model, the tied head counted once."""
    D = spec.d_model
    total = spec.vocab_size * D * (1 if spec.tied_head else 2) + D
    for layer in spec.layers:
        heads = layer.heads + 2 * layer.kv_heads
        total += D * heads * layer.head_dim + layer.heads * layer.head_dim * D
        total += 3 * D * layer.d_ff + D * (4 if spec.post_norms else 2)
        total += heads * layer.head_dim if spec.qkv_bias else 0
        total += 2 * layer.head_dim if spec.qk_norm else 0
    return total
