"""Parameters as pytrees of arrays, and how a checkpoint's tensors become them.

Projections that read the same input are fused, grouped so that tensor parallelism can still cut
them: qkv by KV head (that head's queries, its key, its value), gate_up by hidden unit.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.spec import LayerSpec, ModelSpec, fused_names, optional_norms


class LayerParams(NamedTuple):
    """One layer. G KV heads, R queries per KV head, K head size, F hidden units, D width, P width
    of layer inputs, E experts of H hidden units.

    qkv: [D, G, R + 2, K], with fewer than two behind the queries where keys are values or come from
    another layer; qkv_bias: [G, R + 2, K]; o: [G, R, K, D]; gate_up: [D, 2, F]; down: [F, D];
    norms: [D], q_norm and k_norm: [K]. layer_scale: []. input_gate: [D, P]; input_out: [P, D].
    router: [D, E]; router_norm: [D], with 1 / sqrt(D) in it; expert_scale: [E]; expert_gate and
    expert_up: [E, D, H]; expert_down: [E, H, D]. Fields the family does not have are None.
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
    layer_scale: jax.Array | None = None
    input_gate: jax.Array | None = None
    input_out: jax.Array | None = None
    input_norm: jax.Array | None = None
    dense_post_norm: jax.Array | None = None
    router: jax.Array | None = None
    router_norm: jax.Array | None = None
    expert_scale: jax.Array | None = None
    expert_norm: jax.Array | None = None
    expert_gate: jax.Array | None = None
    expert_up: jax.Array | None = None
    expert_down: jax.Array | None = None
    expert_post_norm: jax.Array | None = None


class Params(NamedTuple):
    """embed: [V, D]; head: [V, D], the same array when tied; final_norm: [D]. Of layer inputs, for
    L layers of width P each: inputs_embed [V, L * P], inputs_project [D, L * P], inputs_norm
    [P]; None where the family has none."""

    embed: jax.Array
    head: jax.Array
    final_norm: jax.Array
    layers: tuple[LayerParams, ...]
    inputs_embed: jax.Array | None = None
    inputs_project: jax.Array | None = None
    inputs_norm: jax.Array | None = None


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

    def placed(name: str, array: jax.Array) -> jax.Array:
        return array if place is None else place.field(name, array)

    def field(name: str, dtype: jnp.dtype) -> jax.Array:
        return placed(name, jnp.asarray(checkpoint.tensor(name), dtype))

    vectors = jnp.dtype(jnp.float32)
    embed = field("embed", dtype)
    head = embed if spec.tied_head else field("head", dtype)
    params = Params(embed, head, field("final_norm", vectors), tuple(layers))
    if spec.layer_inputs:
        project = jnp.asarray(checkpoint.tensor("inputs_project").T, dtype)
        params = params._replace(
            inputs_embed=field("inputs_embed", dtype),
            inputs_project=placed("inputs_project", project),
            inputs_norm=field("inputs_norm", vectors),
        )
    progress(1.0)
    return params


def fused(layer: LayerSpec, read: Read, prefix: str, ending: str = "") -> np.ndarray:
    """Queries, key and value of each KV head one after the other, as far as the layer has them:
    [G, R + 2 or fewer, K, ...] of tensors `prefix` + "q" + `ending` and so on."""
    G, R, K = layer.kv_heads, layer.queries_per_kv, layer.head_dim
    parts = []
    for name in fused_names(layer):
        rows = read(f"{prefix}{name}{ending}")
        parts.append(rows.reshape(G, R if name == "q" else 1, K, *rows.shape[1:]))
    return np.concatenate(parts, axis=1)


def _load_layer(
    read: Read, spec: ModelSpec, layer: LayerSpec, index: int, dtype: jnp.dtype
) -> LayerParams:
    prefix = f"layers.{index}."

    def weight(name: str) -> np.ndarray:
        return read(prefix + name)

    def vector(name: str) -> jax.Array:
        return jnp.asarray(weight(name), jnp.float32)

    def matrix(values: np.ndarray) -> jax.Array:
        return jnp.asarray(values, dtype)

    G, R, K, D = layer.kv_heads, layer.queries_per_kv, layer.head_dim, spec.d_model
    o = weight("o").reshape(D, G, R, K)
    gate_up = np.stack([weight("gate"), weight("up")])
    loaded = LayerParams(
        attn_norm=vector("attn_norm"),
        qkv=matrix(fused(layer, read, prefix).transpose(3, 0, 1, 2)),
        o=matrix(o.transpose(1, 2, 3, 0)),
        mlp_norm=vector("mlp_norm"),
        gate_up=matrix(gate_up.transpose(2, 0, 1)),
        down=matrix(weight("down").T),
        **small_fields(spec, layer, read, prefix),
    )
    if spec.layer_inputs:
        loaded = loaded._replace(
            input_gate=matrix(weight("input_gate").T), input_out=matrix(weight("input_out").T)
        )
    if layer.experts is not None:
        gates, ups = np.split(weight("expert_gate_up"), 2, axis=1)
        loaded = loaded._replace(
            router=matrix(weight("router").T),
            expert_gate=matrix(gates.swapaxes(1, 2)),
            expert_up=matrix(ups.swapaxes(1, 2)),
            expert_down=matrix(weight("expert_down").swapaxes(1, 2)),
        )
    return loaded


def small_fields(spec: ModelSpec, layer: LayerSpec, read: Read, prefix: str) -> dict[str, Any]:
    """The vectors that not every layer has, by field, in float32."""
    found: dict[str, Any] = {
        name: jnp.asarray(read(prefix + name), jnp.float32) for name in optional_norms(spec, layer)
    }
    if spec.qkv_bias:
        found["qkv_bias"] = jnp.asarray(fused(layer, read, prefix, "_bias"), jnp.float32)
    if spec.layer_scale:
        found["layer_scale"] = jnp.asarray(read(prefix + "layer_scale"), jnp.float32).reshape(())
    if layer.experts is not None:
        found["expert_scale"] = jnp.asarray(read(prefix + "expert_scale"), jnp.float32)
        scale = np.asarray(read(prefix + "router_scale"), np.float32)
        found["router_norm"] = jnp.asarray(scale * np.float32(spec.d_model**-0.5))
    return found


def abstract_params(spec: ModelSpec, dtype: jnp.dtype) -> Params:
    """What `load_params` returns, as shapes and dtypes; a tied head is the same object."""

    def matrix(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    def vector(*shape: int) -> Any:
        return jax.ShapeDtypeStruct(shape, jnp.float32)

    def layer_of(layer: LayerSpec) -> LayerParams:
        G, R, K, F = layer.kv_heads, layer.queries_per_kv, layer.head_dim, layer.d_ff
        fields: dict[str, Any] = {
            name: vector(K if name in ("q_norm", "k_norm") else D)
            for name in optional_norms(spec, layer)
        }
        if spec.qkv_bias:
            fields["qkv_bias"] = vector(G, layer.projected, K)
        if spec.layer_scale:
            fields["layer_scale"] = vector()
        if spec.layer_inputs:
            fields |= {"input_gate": matrix(D, P), "input_out": matrix(P, D)}
        if (experts := layer.experts) is not None:
            E, H = experts.count, experts.d_ff
            fields |= {
                "router": matrix(D, E),
                "router_norm": vector(D),
                "expert_scale": vector(E),
                "expert_gate": matrix(E, D, H),
                "expert_up": matrix(E, D, H),
                "expert_down": matrix(E, H, D),
            }
        return LayerParams(
            attn_norm=vector(D),
            qkv=matrix(D, G, layer.projected, K),
            o=matrix(G, R, K, D),
            mlp_norm=vector(D),
            gate_up=matrix(D, 2, F),
            down=matrix(F, D),
            **fields,
        )

    V, D, P = spec.vocab_size, spec.d_model, spec.layer_inputs
    embed = matrix(V, D)
    head = embed if spec.tied_head else matrix(V, D)
    params = Params(embed, head, vector(D), tuple(map(layer_of, spec.layers)))
    if not P:
        return params
    L = len(spec.layers)
    return params._replace(
        inputs_embed=matrix(V, L * P), inputs_project=matrix(D, L * P), inputs_norm=vector(P)
    )


def parameter_count(spec: ModelSpec) -> int:
    """Weights of the model, the tied head counted once."""
    params = abstract_params(spec, jnp.dtype(jnp.float32))
    total = sum(math.prod(array.shape) for array in jax.tree.leaves(params))
    return total - math.prod(params.head.shape) * spec.tied_head
