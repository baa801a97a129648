"""Weights in eight or four bits, in groups of 32, laid out as the compiled kernel reads them."""

import ctypes
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.spec import LayerSpec, ModelSpec

Bits = Literal[4, 8]

_TILE = _GROUP = 32
_GROUP_BYTES: dict[Bits, int] = {
    8: 2 * _TILE + _TILE * _GROUP,
    4: 4 * _TILE + _TILE * _GROUP // 2,
}


class PackedMatrix(NamedTuple):
    """W[N, D]. blob: [ceil(N / 32), ceil(D / 32), bytes] uint8, see src/packed.h; unit: [1].

    bytes says the format, and so do traced arrays: 1088 is eight bits, 640 four.
    """

    blob: jax.Array
    unit: jax.Array

    @property
    def bits(self) -> Bits:
        return 8 if self.blob.shape[-1] == _GROUP_BYTES[8] else 4


class PackedLayer(NamedTuple):
    """`LayerParams` with packed products: qkv [G * (R + 2) * K, D], o [D, G * R * K],
    gate_up [2 * F, D] (`pack_gated`), down [D, F]."""

    attn_norm: jax.Array
    qkv: PackedMatrix
    o: PackedMatrix
    mlp_norm: jax.Array
    gate_up: PackedMatrix
    down: PackedMatrix
    qkv_bias: jax.Array | None = None
    q_norm: jax.Array | None = None
    k_norm: jax.Array | None = None
    post_attn_norm: jax.Array | None = None
    post_mlp_norm: jax.Array | None = None


class PackedParams(NamedTuple):
    """embed: [V, D]; head: [V, D], the same when tied; final_norm: [D]."""

    embed: PackedMatrix
    head: PackedMatrix
    final_norm: jax.Array
    layers: tuple[PackedLayer, ...]


def pack(library: ctypes.CDLL, weights: np.ndarray, bits: Bits = 8) -> PackedMatrix:
    """Packs weights[N, D], orientation [out, in].

    8 bits: a scale for each 32 inputs of an output, values -127 to 127. 4 bits: a scale and a least
    value, values 0 to 15; weights that were kept so in a file (Q4_0, Q4_1, Q4_K) are found again.
    """
    values = np.ascontiguousarray(weights, np.float32)
    N, D = values.shape
    blob = np.empty((-(-N // _TILE), -(-D // _GROUP), _GROUP_BYTES[bits]), np.uint8)
    packer = library.pollux_pack_eight if bits == 8 else library.pollux_pack_four
    unit = packer(values.ctypes.data, N, D, blob.ctypes.data)
    return PackedMatrix(jnp.asarray(blob), jnp.full(1, unit, jnp.float32))


def pack_gated(
    library: ctypes.CDLL, gate: np.ndarray, up: np.ndarray, bits: Bits = 8
) -> PackedMatrix:
    """Packs gate[F, D] and up[F, D] as 16 rows of one, 16 of the other, and so on."""
    F, D = gate.shape
    padded = np.zeros((2, -(-F // 16) * 16, D), np.float32)
    padded[0, :F], padded[1, :F] = gate, up
    mixed = padded.reshape(2, -1, 16, D).swapaxes(0, 1)
    return pack(library, mixed.reshape(-1, D), bits)


def load_packed(
    library: ctypes.CDLL,
    checkpoint: Checkpoint,
    progress: Callable[[float], None] = lambda fraction: None,
) -> PackedParams:
    """Reads every tensor of the checkpoint, packed; norms and biases in float32.

    Four bits where the file has four, which then lose nothing; eight everywhere else.
    """
    spec = checkpoint.spec
    count = len(spec.layers) + 1
    layers = []
    for index, layer in enumerate(spec.layers):
        layers.append(_load_layer(library, checkpoint, spec, layer, index))
        progress((index + 1) / count)
    embed = pack(library, checkpoint.tensor("embed"), _bits(checkpoint, "embed"))
    head = embed
    if not spec.tied_head:
        head = pack(library, checkpoint.tensor("head"), _bits(checkpoint, "head"))
    final_norm = jnp.asarray(checkpoint.tensor("final_norm"), jnp.float32)
    progress(1.0)
    return PackedParams(embed, head, final_norm, tuple(layers))


def _bits(checkpoint: Checkpoint, *names: str) -> Bits:
    return 4 if all(checkpoint.tensor_bits(name) == 4 for name in names) else 8


def _load_layer(
    library: ctypes.CDLL, checkpoint: Checkpoint, spec: ModelSpec, layer: LayerSpec, index: int
) -> PackedLayer:
    def read(name: str) -> np.ndarray:
        return np.asarray(checkpoint.tensor(f"layers.{index}.{name}"), np.float32)

    def norm(name: str) -> jax.Array:
        return jnp.asarray(read(name))

    def by_head(q: str, k: str, v: str) -> np.ndarray:
        G, R, K = layer.kv_heads, layer.queries_per_kv, layer.head_dim
        parts = [read(q).reshape(G, R, K, -1)]
        parts += [read(name).reshape(G, 1, K, -1) for name in (k, v)]
        return np.concatenate(parts, axis=1)

    def bits(*names: str) -> Bits:
        return _bits(checkpoint, *(f"layers.{index}.{name}" for name in names))

    bias = by_head("q_bias", "k_bias", "v_bias")[..., 0] if spec.qkv_bias else None
    return PackedLayer(
        attn_norm=norm("attn_norm"),
        qkv=pack(library, by_head("q", "k", "v").reshape(-1, spec.d_model), bits("q", "k", "v")),
        o=pack(library, read("o"), bits("o")),
        mlp_norm=norm("mlp_norm"),
        gate_up=pack_gated(library, read("gate"), read("up"), bits("gate", "up")),
        down=pack(library, read("down"), bits("down")),
        qkv_bias=None if bias is None else jnp.asarray(bias),
        q_norm=norm("q_norm") if spec.qk_norm else None,
        k_norm=norm("k_norm") if spec.qk_norm else None,
        post_attn_norm=norm("post_attn_norm") if spec.post_norms else None,
        post_mlp_norm=norm("post_mlp_norm") if spec.post_norms else None,
    )
