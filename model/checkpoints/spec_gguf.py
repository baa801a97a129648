"""From a GGUF file's metadata to a `ModelSpec`.

Key names are those of llama.cpp's converter (gguf-py `constants.py`). What the file does not
carry comes from the architecture: see `_gemma3`.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from model.checkpoints import limits
from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.gguf_header import TensorInfo
from model.checkpoints.values import Values, short
from model.spec import Family, LayerSpec, ModelSpec, Rope, UnsupportedModel

_FAMILIES: Mapping[str, Family] = {"llama": "llama", "qwen2": "qwen2", "gemma3": "gemma3"}

GEMMA3_LOCAL_THETA = 1e4
GEMMA3_PATTERN = 6
"""Every sixth layer is global, the others see a window."""


def spec_from_gguf(fields: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> ModelSpec:
    """Raises DamagedCheckpoint for missing or senseless values, UnsupportedModel for an
    architecture or an option that the decoder does not have."""
    architecture = Values(fields).text("general.architecture")
    if architecture not in _FAMILIES:
        raise UnsupportedModel(
            f"architecture {short(architecture)} (supported in GGUF: {', '.join(_FAMILIES)})"
        )
    family = _FAMILIES[architecture]
    _refuse_split_files(Values(fields))
    values = Values(fields, prefix=f"{architecture}.")
    _refuse_what_no_family_has(values)
    read = _gemma3 if family == "gemma3" else _plain
    return read(family, values, tensors)


def _refuse_split_files(values: Values) -> None:
    parts = values.integer("split.count", 1, low=0, high=2**16)
    if parts > 1:
        raise UnsupportedModel(f"the model is split into {parts} GGUF files; merge them first")


def _refuse_what_no_family_has(values: Values) -> None:
    if values.integer("expert_count", 0, low=0, high=2**16):
        raise UnsupportedModel("mixture-of-experts layers")
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if values.number(key, 0.0):
            raise UnsupportedModel(f"{key} is set")


def _plain(family: Family, values: Values, tensors: Mapping[str, TensorInfo]) -> ModelSpec:
    """llama and qwen2: all layers see everything, SwiGLU, no norms besides the two."""
    if values.has("attention.sliding_window"):
        raise UnsupportedModel(f"a sliding window in a {family} model")
    spec = _base(family, values, tensors, head_dim=None)
    rope = Rope(theta=_theta(values, 1e4), linear=_linear_factor(values, 1.0))
    head_dim = spec.layers[0].head_dim
    return replace(
        spec,
        layers=tuple(replace(layer, rope=rope) for layer in spec.layers),
        attn_scale=values.number("attention.scale", head_dim**-0.5),
        qkv_bias=family == "qwen2" or "blk.0.attn_q.bias" in tensors,
    )


def _gemma3(family: Family, values: Values, tensors: Mapping[str, TensorInfo]) -> ModelSpec:
    """The window pattern, the local theta and the 27B's scale are not in most files; nor is,
    in early ones, the global scaling of 4B and up. Source: gemma_pytorch's config.py."""
    spec = _base(family, values, tensors, head_dim=256)
    layers = len(spec.layers)
    large = layers in (34, 48, 62)
    window = values.integer("attention.sliding_window", low=1, high=limits.MAX_CONTEXT)
    everywhere = Rope(
        theta=_theta(values, 1e6), linear=_linear_factor(values, 8.0 if large else 1.0)
    )
    local = Rope(theta=values.number("rope.freq_base_swa", GEMMA3_LOCAL_THETA, low=1.0))
    head_dim = spec.layers[0].head_dim
    # 27B scales by the width per head (168), which is not its head_dim (128).
    scalar = spec.d_model / spec.layers[0].heads if layers == 62 else head_dim
    return replace(
        spec,
        layers=tuple(
            replace(layer, rope=local, window=window)
            if is_local
            else replace(layer, rope=everywhere)
            for layer, is_local in zip(spec.layers, _local_layers(values, layers), strict=True)
        ),
        activation="gelu_tanh",
        embed_scale=spec.d_model**0.5,
        attn_scale=values.number("attention.scale", scalar**-0.5),
        qk_norm=True,
        post_norms=True,
    )


def _local_layers(values: Values, layers: int) -> list[bool]:
    key = "attention.sliding_window_pattern"
    if isinstance(values.raw(key), list):
        return [bool(item) for item in values.sequence(key, layers)]
    pattern = values.integer(key, GEMMA3_PATTERN, low=1, high=limits.MAX_LAYERS)
    return [(index + 1) % pattern != 0 for index in range(layers)]


def _base(
    family: Family, values: Values, tensors: Mapping[str, TensorInfo], head_dim: int | None
) -> ModelSpec:
    """What all families say in the same words. The rotary embedding is left to the caller."""
    layers = values.integer("block_count", high=limits.MAX_LAYERS)
    d_model = values.integer("embedding_length", high=limits.MAX_WIDTH)
    heads = values.per_layer("attention.head_count", layers, high=limits.MAX_HEADS)
    kv_heads = (
        values.per_layer("attention.head_count_kv", layers, high=limits.MAX_HEADS)
        if values.has("attention.head_count_kv")
        else heads
    )
    d_ff = values.per_layer("feed_forward_length", layers, high=limits.MAX_WIDTH)
    default = head_dim if head_dim is not None else max(1, d_model // heads[0])
    width = values.integer("attention.key_length", default, high=limits.MAX_HEAD_DIM)
    _refuse_odd_heads(values, width, heads, kv_heads)
    return ModelSpec(
        family=family,
        d_model=d_model,
        vocab_size=_vocab_size(tensors),
        context=values.integer("context_length", high=limits.MAX_CONTEXT),
        layers=tuple(
            LayerSpec(heads=h, kv_heads=g, head_dim=width, d_ff=f, rope=Rope(theta=1.0))
            for h, g, f in zip(heads, kv_heads, d_ff, strict=True)
        ),
        norm_eps=_as_written(values.number("attention.layer_norm_rms_epsilon", high=1.0)),
        tied_head="output.weight" not in tensors,
    )


def _refuse_odd_heads(
    values: Values, head_dim: int, heads: Collection[int], kv_heads: Collection[int]
) -> None:
    for h, g in zip(heads, kv_heads, strict=True):
        if h % g:
            raise DamagedCheckpoint(f"{h} attention heads do not divide among {g} of keys")
    if head_dim % 2:
        raise DamagedCheckpoint(f"attention heads of odd width {head_dim}")
    for key in ("attention.value_length", "rope.dimension_count"):
        width = values.integer(key, head_dim, high=limits.MAX_HEAD_DIM)
        if width != head_dim:
            raise UnsupportedModel(f"{key} {width} beside attention heads of width {head_dim}")


def _vocab_size(tensors: Mapping[str, TensorInfo]) -> int:
    """The embedding's rows: the metadata need not carry the size."""
    embed = tensors.get("token_embd.weight")
    if embed is None:
        raise DamagedCheckpoint("tensor 'token_embd.weight' is missing")
    if embed.shape[0] > limits.MAX_VOCAB:
        raise DamagedCheckpoint(f"a vocabulary of {embed.shape[0]}")
    return embed.shape[0]


def _as_written(value: float) -> float:
    """1e-5 again, where the file's float32 says 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _theta(values: Values, default: float) -> float:
    return values.number("rope.freq_base", default, low=1.0)


def _linear_factor(values: Values, default: float) -> float:
    kind = values.text("rope.scaling.type", "linear")
    if kind == "none":
        return 1.0
    if kind != "linear":
        raise UnsupportedModel(f"rotary scaling {short(kind)} (supported: linear, llama3)")
    old = values.number("rope.scale_linear", default)
    factor = values.number("rope.scaling.factor", old)
    return factor or 1.0
