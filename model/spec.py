"""Frozen specifications: what a decoder is, layer by layer.

Families differ in these values and in the names of their tensors, not in code. Checkpoint
readers fill a `ModelSpec`; `model.nn` turns it into a program. Everything is hashable, so a
specification can be a static argument of a traced function.
"""

import math
from dataclasses import dataclass
from typing import Literal

Activation = Literal["silu", "gelu_tanh"]
Family = Literal["llama", "qwen2", "gemma3", "gemma4"]


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
    """Half-split rotary embedding. linear: positions are divided by it. turning: how many of a
    head's K/2 pairs turn, the fastest first; the others stay as they are. None: all of them."""

    theta: float
    linear: float = 1.0
    llama3: Llama3Scaling | None = None
    turning: int | None = None


@dataclass(frozen=True)
class Experts:
    """MLPs of which each token takes the `top` that a router scores highest, beside the dense one.
    Both have norms of their own before post_norms'. d_ff: hidden units of each."""

    count: int
    top: int
    d_ff: int


@dataclass(frozen=True)
class LayerSpec:
    """One decoder layer.

    window: how many positions it sees, itself included; None is all. keys_are_values: values are
    the projected keys, before their norm and rotation. kv_source: the earlier layer, of the same
    window, heads and head_dim, whose keys and values it reads; it has none of its own then.
    """

    heads: int
    kv_heads: int
    head_dim: int
    d_ff: int
    rope: Rope
    window: int | None = None
    keys_are_values: bool = False
    kv_source: int | None = None
    experts: Experts | None = None

    @property
    def queries_per_kv(self) -> int:
        return self.heads // self.kv_heads

    @property
    def projected(self) -> int:
        """Heads that the fused projection makes for each KV head: its queries, key and value, as
        far as the layer has them."""
        if self.kv_source is not None:
            return self.queries_per_kv
        return self.queries_per_kv + (1 if self.keys_are_values else 2)


@dataclass(frozen=True)
class VisionSpec:
    """An image encoder of square images: patches, a Transformer that sees all of them (LayerNorm,
    biases, gelu), then patches averaged in squares to `tokens` soft tokens of the decoder's width.

    Gemma 3 of 4B and more: SigLIP. placeholder: the token id that stands for a soft token.
    """

    image_size: int
    patch_size: int
    d_model: int
    d_ff: int
    layers: int
    heads: int
    tokens: int
    placeholder: int
    norm_eps: float = 1e-6

    @property
    def side(self) -> int:
        """Patches along a side of the image."""
        return self.image_size // self.patch_size

    @property
    def pool(self) -> int:
        """Patches along a side of the square that becomes one soft token."""
        return math.isqrt(self.side**2 // self.tokens)


@dataclass(frozen=True)
class ModelSpec:
    """A decoder-only Transformer.

    embed_scale: embeddings are multiplied by it. attn_scale: scores are multiplied by it.
    qkv_bias: q, k and v have biases (qwen2). qk_norm: RMSNorm over head_dim before the rotary
    embedding (gemma3). v_norm: RMSNorm without a scale on values (gemma4). post_norms: RMSNorms
    after attention and after the MLP too (gemma3). layer_scale: a learned number that each layer's
    output is multiplied by (gemma4). layer_inputs: width of what each layer is told of each token
    besides, from a table of its own; 0 is nothing (gemma4). logit_cap: logits are
    cap * tanh(logits / cap). tied_head: the output head is the embedding table. vocab_size: rows
    of that table, which may be more than the tokenizer has pieces. vision: what encodes images,
    if the model takes any.
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
    v_norm: bool = False
    post_norms: bool = False
    layer_scale: bool = False
    layer_inputs: int = 0
    logit_cap: float | None = None
    tied_head: bool = True
    vision: VisionSpec | None = None

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The distinct layer kinds, in a fixed order: global (None) first, then by window.

        Pages are kept per kind: a kind's index here is its index in every page table.
        """
        kinds = {layer.window for layer in self.layers}
        return tuple(sorted(kinds, key=lambda window: -1 if window is None else window))

    @property
    def kv_layers(self) -> tuple[LayerSpec, ...]:
        """The layers that keep keys and values of their own: a cache has pages for each."""
        return tuple(layer for layer in self.layers if layer.kv_source is None)

    @property
    def kv_index(self) -> tuple[int, ...]:
        """Of each layer, where among `kv_layers` the pages are that it reads."""
        own = [index for index, layer in enumerate(self.layers) if layer.kv_source is None]
        return tuple(
            own.index(index if layer.kv_source is None else layer.kv_source)
            for index, layer in enumerate(self.layers)
        )


def fused_names(layer: LayerSpec) -> str:
    """A letter for each projection that the layer has of its own."""
    return "qkv"[: 1 + layer.projected - layer.queries_per_kv]


def optional_norms(spec: ModelSpec, layer: LayerSpec) -> list[str]:
    """Names of the scales of norms that not every layer has, of fields and tensors alike."""
    names = []
    if spec.qk_norm:
        names += ["q_norm", "k_norm"] if layer.kv_source is None else ["q_norm"]
    if spec.post_norms:
        names += ["post_attn_norm", "post_mlp_norm"]
    if spec.layer_inputs:
        names.append("input_norm")
    if layer.experts is not None:
        names += ["dense_post_norm", "expert_norm", "expert_post_norm"]
    return names
