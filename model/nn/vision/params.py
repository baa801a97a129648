"""The image encoder's parameters as a pytree, and how a checkpoint's tensors become them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.spec import ModelSpec


class VisionLayer(NamedTuple):
    """W width, F hidden units. qkv: [W, 3, W]; qkv_bias: [3, W]; o: [W, W]; up: [W, F];
    down: [F, W]; scales and biases: [W], up_bias: [F]."""

    scale_1: jax.Array
    bias_1: jax.Array
    qkv: jax.Array
    qkv_bias: jax.Array
    o: jax.Array
    o_bias: jax.Array
    scale_2: jax.Array
    bias_2: jax.Array
    up: jax.Array
    up_bias: jax.Array
    down: jax.Array
    down_bias: jax.Array


class VisionParams(NamedTuple):
    """P a patch's side, S patches of an image, D the decoder's width. patches: [P * P * 3, W], a
    patch's pixels row by row; positions: [S, W]; projection: [W, D]; scales and biases: [W]."""

    patches: jax.Array
    patch_bias: jax.Array
    positions: jax.Array
    layers: tuple[VisionLayer, ...]
    last_scale: jax.Array
    last_bias: jax.Array
    soft_norm: jax.Array
    projection: jax.Array


def load_vision(checkpoint: Checkpoint, dtype: jnp.dtype) -> VisionParams:
    """Matrices as `dtype`, everything else float32. The specification must have an encoder."""
    vision = checkpoint.spec.vision
    assert vision is not None

    def read(name: str) -> np.ndarray:
        return checkpoint.tensor(f"vision.{name}")

    def matrix(values: np.ndarray) -> jax.Array:
        return jnp.asarray(values, dtype)

    def vector(name: str) -> jax.Array:
        return jnp.asarray(read(name), jnp.float32)

    def layer(index: int) -> VisionLayer:
        at = f"layers.{index}."
        qkv = np.stack([read(at + name).T for name in "qkv"], axis=1)
        bias = np.stack([read(f"{at}{name}_bias") for name in "qkv"])
        return VisionLayer(
            scale_1=vector(at + "scale_1"),
            bias_1=vector(at + "bias_1"),
            qkv=matrix(qkv),
            qkv_bias=jnp.asarray(bias, jnp.float32),
            o=matrix(read(at + "o").T),
            o_bias=vector(at + "o_bias"),
            scale_2=vector(at + "scale_2"),
            bias_2=vector(at + "bias_2"),
            up=matrix(read(at + "up").T),
            up_bias=vector(at + "up_bias"),
            down=matrix(read(at + "down").T),
            down_bias=vector(at + "down_bias"),
        )

    patches = read("patches").transpose(2, 3, 1, 0).reshape(-1, vision.d_model)
    return VisionParams(
        patches=matrix(patches),
        patch_bias=vector("patch_bias"),
        positions=vector("positions"),
        layers=tuple(map(layer, range(vision.layers))),
        last_scale=vector("last_scale"),
        last_bias=vector("last_bias"),
        soft_norm=vector("soft_norm"),
        projection=matrix(read("projection")),
    )


def vision_parameter_count(spec: ModelSpec) -> int:
    """Weights of the image encoder; 0 without one."""
    vision = spec.vision
    if vision is None:
        return 0
    W, F = vision.d_model, vision.d_ff
    layer = 4 * (W * W + W) + 2 * W * F + F + W + 4 * W
    patches = 3 * vision.patch_size**2 * W + W + vision.side**2 * W
    return patches + vision.layers * layer + 3 * W + W * spec.d_model
