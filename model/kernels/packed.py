"""Weights in eight or four bits, in groups of 32, laid out as the compiled kernel reads them."""

import ctypes
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from model.checkpoints.base import Checkpoint
from model.nn.params import fused, small_fields
from model.spec import LayerSpec, ModelSpec, fused_names

Bits = Literal[4, 8]

_TILE = _GROUP = 32
_WORKERS = 4
"""Each holds a matrix in float32 for a while."""
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
    gate_up [2 * F, D] (`pack_gated`), down [D, F], input_gate [P, D], input_out [D, P]. There are
    no packed experts."""

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
    layer_scale: jax.Array | None = None
    input_gate: PackedMatrix | None = None
    input_out: PackedMatrix | None = None
    input_norm: jax.Array | None = None


class PackedParams(NamedTuple):
    """embed: [V, D]; head: [V, D], the same when tied; final_norm: [D]. inputs_embed: [V, L * P];
    inputs_project: [L * P, D]; inputs_norm: [P]."""

    embed: PackedMatrix
    head: PackedMatrix
    final_norm: jax.Array
    layers: tuple[PackedLayer, ...]
    inputs_embed: PackedMatrix | None = None
    inputs_project: PackedMatrix | None = None
    inputs_norm: jax.Array | None = None


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
    bits: Bits | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> PackedParams:
    """Reads every tensor of the checkpoint, packed; norms and biases in float32.

    bits: of every matrix; None is four where the file has no more, else eight.
    """
    spec, packer = checkpoint.spec, _Packer(library, checkpoint, bits)
    count = len(spec.layers) + 1
    pool = ThreadPoolExecutor(max_workers=min(_WORKERS, os.cpu_count() or 1))
    try:
        # The largest first, beside which the layers are done.
        table = pool.submit(packer.matrix, "embed")
        other = None if spec.tied_head else pool.submit(packer.matrix, "head")
        waiting = [
            pool.submit(_load_layer, packer, spec, layer, f"layers.{index}.")
            for index, layer in enumerate(spec.layers)
        ]
        layers = []
        for index, layer in enumerate(waiting):
            layers.append(layer.result())
            progress((index + 1) / count)
        embed = table.result()
        head = embed if other is None else other.result()
    finally:
        pool.shutdown(cancel_futures=True)
    params = PackedParams(embed, head, packer.vector("final_norm"), tuple(layers))
    if spec.layer_inputs:
        params = params._replace(
            inputs_embed=packer.matrix("inputs_embed"),
            inputs_project=packer.matrix("inputs_project"),
            inputs_norm=packer.vector("inputs_norm"),
        )
    progress(1.0)
    return params


class _Packer:
    """Tensors of a checkpoint by name, packed in as many bits as they need."""

    def __init__(self, library: ctypes.CDLL, checkpoint: Checkpoint, bits: Bits | None) -> None:
        self._library, self._checkpoint, self._bits = library, checkpoint, bits

    def read(self, name: str) -> np.ndarray:
        return np.asarray(self._checkpoint.tensor(name), np.float32)

    def vector(self, name: str) -> jax.Array:
        return jnp.asarray(self.read(name))

    def matrix(self, name: str) -> PackedMatrix:
        return self.joined(self.read(name), name)

    def joined(self, weights: np.ndarray, *names: str) -> PackedMatrix:
        """Rows that come from these tensors."""
        return pack(self._library, weights, self._needed(names))

    def gated(self, gate: str, up: str) -> PackedMatrix:
        return pack_gated(self._library, self.read(gate), self.read(up), self._needed((gate, up)))

    def _needed(self, names: Iterable[str]) -> Bits:
        if self._bits is not None:
            return self._bits
        return 4 if all(self._checkpoint.four_bits(name) for name in names) else 8


def _load_layer(packer: _Packer, spec: ModelSpec, layer: LayerSpec, at: str) -> PackedLayer:
    qkv = fused(layer, packer.read, at)
    packed = PackedLayer(
        attn_norm=packer.vector(f"{at}attn_norm"),
        qkv=packer.joined(
            qkv.reshape(-1, spec.d_model), *(f"{at}{name}" for name in fused_names(layer))
        ),
        o=packer.matrix(f"{at}o"),
        mlp_norm=packer.vector(f"{at}mlp_norm"),
        gate_up=packer.gated(f"{at}gate", f"{at}up"),
        down=packer.matrix(f"{at}down"),
        **small_fields(spec, layer, packer.read, at),
    )
    if not spec.layer_inputs:
        return packed
    return packed._replace(
        input_gate=packer.matrix(f"{at}input_gate"), input_out=packer.matrix(f"{at}input_out")
    )
