"""Mixture of experts: each token goes through the few MLPs that a router chose for it.

Tokens are sorted by expert, so that each expert's are rows in a row and one ragged product serves
all experts: no expert computes a token that is not its own, and none has a capacity to overflow.
"""

import jax
import jax.numpy as jnp

from model.nn import products
from model.nn.ops import gated, rms_norm
from model.nn.params import LayerParams
from model.spec import Experts, ModelSpec


def mix_experts(
    spec: ModelSpec, experts: Experts, weights: LayerParams, x: jax.Array, live: jax.Array
) -> jax.Array:
    """What the chosen experts make of the residual stream x[T, D], normed: [T, D] float32."""
    gates, ups, downs = weights.expert_gate, weights.expert_up, weights.expert_down
    assert gates is not None
    assert ups is not None
    assert downs is not None
    shares, chosen = _routed(spec, experts, weights, x, live)
    T = x.shape[0]
    order = jnp.argsort(chosen.reshape(-1), stable=True)
    sizes = jnp.bincount(chosen.reshape(-1), length=experts.count).astype(jnp.int32)
    rows = rms_norm(x, weights.expert_norm, spec.norm_eps).astype(gates.dtype)
    rows = rows[order // experts.top]
    hidden = gated(spec.activation, _by_expert(rows, gates, sizes), _by_expert(rows, ups, sizes))
    made = _by_expert(hidden.astype(downs.dtype), downs, sizes)
    made = made[jnp.argsort(order)].reshape(T, experts.top, spec.d_model)
    mixed = jnp.sum(made * shares[..., None], axis=1)
    return rms_norm(mixed, weights.expert_post_norm, spec.norm_eps)


def _routed(
    spec: ModelSpec, experts: Experts, weights: LayerParams, x: jax.Array, live: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Of each token the weights and the numbers of its experts, both [T, top]. The weights of the
    chosen sum to one before each expert's own factor."""
    assert weights.router is not None
    assert weights.expert_scale is not None
    scores = products.project(
        x, weights.router, experts.count, live, norm=weights.router_norm, eps=spec.norm_eps
    )
    best, chosen = jax.lax.top_k(jax.nn.softmax(scores, axis=-1), experts.top)
    shares = best / jnp.sum(best, axis=-1, keepdims=True)
    return shares * weights.expert_scale[chosen], chosen


def _by_expert(rows: jax.Array, matrices: jax.Array, sizes: jax.Array) -> jax.Array:
    """rows[N, I], sorted by expert, times each its expert's of matrices[E, I, O]: float32."""
    return jax.lax.ragged_dot(rows, matrices, sizes, preferred_element_type=jnp.float32)
