"""What each layer is told of each token besides the residual stream (per-layer embeddings).

A table of its own gives every token a vector for every layer; to it comes a projection of the
token's ordinary embedding. Each layer gates its vector by the residual stream and adds it.
"""

import jax

from model.nn import products
from model.nn.ops import gated, rms_norm
from model.nn.params import LayerParams, Params
from model.spec import ModelSpec


def layer_inputs(
    spec: ModelSpec, params: Params, tokens: jax.Array, x: jax.Array, live: jax.Array
) -> jax.Array | None:
    """[T, L, P] float32 for tokens[T] with the scaled embeddings x[T, D]; None where the
    specification has no such inputs."""
    if params.inputs_embed is None or params.inputs_project is None:
        return None
    L, P = len(spec.layers), spec.layer_inputs
    own = products.embed(params.inputs_embed, tokens, live, L * P, P**0.5)
    projected = products.project(x, params.inputs_project, L * P, live) * spec.d_model**-0.5
    projected = rms_norm(projected.reshape(-1, L, P), params.inputs_norm, spec.norm_eps)
    return (projected + own.reshape(-1, L, P)) * 0.5**0.5


def add_input(
    spec: ModelSpec, weights: LayerParams, x: jax.Array, told: jax.Array, live: jax.Array
) -> jax.Array:
    """The residual stream x[T, D] with the layer's own inputs told[T, P] in it."""
    assert weights.input_gate is not None
    assert weights.input_out is not None
    gate = products.project(x, weights.input_gate, spec.layer_inputs, live)
    return products.project(
        gated(spec.activation, gate, told),
        weights.input_out,
        spec.d_model,
        live,
        post_norm=weights.input_norm,
        residual=x,
        eps=spec.norm_eps,
    )
