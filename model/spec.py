"""Frozen specifications: what a decoder is, layer by layer.

Families differ in these values and in the names of their tensors, not in code. Checkpoint
readers fill a `ModelSpec`; `model.nn` turns it into a program. Everything is hashable, so a
specification can be a static argument of a traced function.
"""

from dataclasses import dataclass
from typing import Literal

Activation = Literal["silu", "gelu_tanh"]
Family = Literal["llama", "qwen2", "gemma3"]


class UnsupportedModel(ValueError):
    """The checkpoint is well-formed, but asks for something that Pollux does not do."""


@dataclass(frozen=True)
class Llama3Scaling:
    """Rotary frequency scaling of Llama 3.1 and later: long wavelengths are stretched."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_context: int


@dataclass(frozen=True)
class Rope:
    """Half-split rotary embedding. linear: positions are divided by it."""

    theta: float
    linear: float = 1.0
    llama3: Llama3Scaling | None = None


@dataclass(frozen=True)
class LayerSpec:
    """One decoder layer. window: how many positions it sees, itself included; None is all."""

    heads: int
    kv_heads: int
    head_dim: int
    d_ff: int
    rope: Rope
    window: int | None = None

    @property
    def queries_per_kv(self) -> int:
        return self.heads // self.kv_heads


@dataclass(frozen=True)
class ModelSpec:
    """A decoder-only Transformer.

    embed_scale: embeddings are multiplied by it. attn_scale: scores are multiplied by it.
    qkv_bias: q, k and v have biases (qwen2). qk_norm: RMSNorm over head_dim before the rotary
    embedding (gemma3). post_norms: RMSNorms after attention and after the MLP too (gemma3).
    tied_head: the output head is the embedding table. vocab_size: rows of that table, which may be
    more than the tokenizer has pieces.
    """

    family: Family
    d_model: int
    vocab_size: int
    context: int
    layers: tuple[LayerSpec, ...]
    activation: Activation = "silu"
    norm_eps: float = 1e-6
    embed_scale: float = 1.0
    attn_scale: float = 1.0
    qkv_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    tied_head: bool = True

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The distinct layer kinds, in a fixed order: global (None) first, then by window.

        Pages are kept per kind: a kind's index here is its index in every page table.
        """
        kinds = {layer.window for layer in self.layers}
        return tuple(sorted(kinds, key=lambda window: -1 if window is None else window))
