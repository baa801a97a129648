"""What every checkpoint reader provides, whatever the file format."""

from typing import Protocol

import numpy as np

from model.spec import ModelSpec
from model.text.assets import TextAssets


class DamagedCheckpoint(ValueError):
    """The file is truncated, inconsistent or not what its name says. One line, for a person."""


class Checkpoint(Protocol):
    """A readable model. Opening one checks headers, shapes and sizes, and reads no weights.

    Canonical tensor names (orientation [out, in], as in PyTorch; norm weights are the effective
    scale, so gemma's 1 + w is already added; q and k rows are ordered for half-split rotary):

        embed [V, D], final_norm [D], head [V, D] (absent when tied)
        layers.N.attn_norm [D]      layers.N.post_attn_norm [D] (post_norms)
        layers.N.q [H*K, D]  .k [G*K, D]  .v [G*K, D]  .o [D, H*K]   (K head_dim, G kv_heads)
        layers.N.q_bias [H*K]  .k_bias [G*K]  .v_bias [G*K]          (qkv_bias)
        layers.N.q_norm [K]  .k_norm [K]                             (qk_norm)
        layers.N.mlp_norm [D]       layers.N.post_mlp_norm [D] (post_norms)
        layers.N.gate [F, D]  .up [F, D]  .down [D, F]
        layers.N.layer_scale [1] (layer_scale)

    No k or v where a layer reads another's, no v where its keys are its values. With layer_inputs
    P of L layers:

        inputs_embed [V, L*P]  inputs_project [L*P, D]  inputs_norm [P]
        layers.N.input_gate [P, D]  .input_out [D, P]  .input_norm [D]

    With E experts of H hidden units (gates before ups):

        layers.N.router [E, D]  .router_scale [D]  .expert_scale [E]
        layers.N.expert_gate_up [E, 2*H, D]  .expert_down [E, D, H]
        layers.N.dense_post_norm [D]  .expert_norm [D]  .expert_post_norm [D]

    With an image encoder (spec.vision; W its width, P a patch's side, S patches in all):

        vision.patches [W, 3, P, P]  vision.patch_bias [W]  vision.positions [S, W]
        vision.layers.N.{scale,bias}_{1,2} [W]  .{q,k,v,o} [W, W]  .{q,k,v,o}_bias [W]
        vision.layers.N.up [F, W]  .up_bias [F]  .down [W, F]  .down_bias [W]
        vision.last_scale [W]  vision.last_bias [W]  vision.soft_norm [W]  vision.projection [W, D]
    """

    spec: ModelSpec
    text: TextAssets
    fingerprint: str
    """sha256 (hex) that identifies the weights: see `model.checkpoints.fingerprint`."""
    quantization: str
    """As the file says: "Q4_1", "Q4_K_M", "BF16", ..."""

    def tensor(self, name: str) -> np.ndarray:
        """One tensor by its canonical name, dequantised to float32 (or float16/bfloat16 as kept).

        Raises KeyError for a name that the specification does not have.
        """
        ...

    def four_bits(self, name: str) -> bool:
        """Whether the file keeps the tensor in groups of 32 inputs with 16 levels each, so that
        four bits lose nothing. Raises KeyError."""
        ...

    def close(self) -> None: ...
