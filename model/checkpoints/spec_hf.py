"""From a Hugging Face `config.json` to a `ModelSpec`.

Both styles of rotary settings are read: `rope_theta` and `rope_scaling` (transformers 4), and
`rope_parameters` (transformers 5; for gemma3 one object per layer type). Published configs leave
out what equals the class's default, so the defaults here are those of the configuration classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.checkpoints import limits
from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.values import Values, short
from model.spec import (
    Activation,
    Family,
    LayerSpec,
    Llama3Scaling,
    ModelSpec,
    Rope,
    UnsupportedModel,
)

ARCHITECTURES: Mapping[str, Family] = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3ForConditionalGeneration": "gemma3",  # its text part
}
_ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}


@dataclass(frozen=True)
class _Defaults:
    width: int
    d_ff: int
    layers: int
    heads: int
    kv_heads: int | None
    head_dim: int | None
    vocab_size: int
    context: int
    tied: bool


_DEFAULTS: Mapping[Family, _Defaults] = {
    "llama": _Defaults(4096, 11008, 32, 32, None, None, 32000, 2048, tied=False),
    "qwen2": _Defaults(4096, 22016, 32, 32, 32, None, 151936, 32768, tied=False),
    "gemma3": _Defaults(2304, 9216, 26, 8, 4, 256, 262208, 131072, tied=True),
}


def spec_from_config(config: Mapping[str, Any]) -> ModelSpec:
    """Raises DamagedCheckpoint for senseless values, UnsupportedModel for an architecture or an
    option that the decoder does not have."""
    family = _family(config)
    values = Values(config)
    if values.has("quantization_config"):
        raise UnsupportedModel("weights quantised in Hugging Face's formats (GGUF ones are read)")
    text = values.nested("text_config") if values.has("text_config") else values
    _refuse_options(text, family)
    # Either place may say it; transformers asks the outer one.
    tied = text.flag("tie_word_embeddings", _DEFAULTS[family].tied)
    spec = _base(family, text, values.flag("tie_word_embeddings", tied))
    return _gemma3(spec, text) if family == "gemma3" else _plain(spec, text)


def _family(config: Mapping[str, Any]) -> Family:
    claimed = config.get("architectures")
    names = [name for name in claimed if isinstance(name, str)] if isinstance(claimed, list) else []
    for name in names:
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    raise UnsupportedModel(
        f"architecture {short(', '.join(names) or 'none given')} "
        f"(supported in Hugging Face folders: {', '.join(ARCHITECTURES)})"
    )


def _refuse_options(text: Values, family: Family) -> None:
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if text.has(key):
            raise UnsupportedModel(f"{key} is set")
    if text.flag("use_bidirectional_attention", False):
        raise UnsupportedModel("bidirectional attention")
    if text.flag("mlp_bias", False):
        raise UnsupportedModel("biases in the MLP")
    # In llama and gemma3 this one adds a bias to the output projection too.
    if family != "qwen2" and text.flag("attention_bias", False):
        raise UnsupportedModel(f"attention biases in a {family} model")


def _base(family: Family, text: Values, tied: bool) -> ModelSpec:
    """What all families say in the same words. Rotary embedding and windows are the caller's."""
    default = _DEFAULTS[family]
    d_model = text.integer("hidden_size", default.width, high=limits.MAX_WIDTH)
    heads = text.integer("num_attention_heads", default.heads, high=limits.MAX_HEADS)
    kv_heads = text.integer("num_key_value_heads", default.kv_heads or heads, high=limits.MAX_HEADS)
    head_dim = text.integer(
        "head_dim", default.head_dim or max(1, d_model // heads), high=limits.MAX_HEAD_DIM
    )
    if heads % kv_heads:
        raise DamagedCheckpoint(f"{heads} attention heads do not divide among {kv_heads} of keys")
    if head_dim % 2:
        raise DamagedCheckpoint(f"attention heads of odd width {head_dim}")
    d_ff = text.integer("intermediate_size", default.d_ff, high=limits.MAX_WIDTH)
    layers = text.integer("num_hidden_layers", default.layers, high=limits.MAX_LAYERS)
    layer = LayerSpec(
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, d_ff=d_ff, rope=Rope(theta=1.0)
    )
    return ModelSpec(
        family=family,
        d_model=d_model,
        vocab_size=text.integer("vocab_size", default.vocab_size, high=limits.MAX_VOCAB),
        context=text.integer("max_position_embeddings", default.context, high=limits.MAX_CONTEXT),
        layers=(layer,) * layers,
        norm_eps=text.number("rms_norm_eps", 1e-6, high=1.0),
        attn_scale=head_dim**-0.5,
        tied_head=tied,
    )


def _plain(spec: ModelSpec, text: Values) -> ModelSpec:
    """llama and qwen2; the latter may have a window on its later layers."""
    rope = _single_rope(text)
    window = None
    if spec.family == "qwen2" and text.flag("use_sliding_window", False):
        window = text.integer("sliding_window", 4096, high=limits.MAX_CONTEXT)
    first_local = text.integer("max_window_layers", 28, low=0, high=limits.MAX_LAYERS)
    pattern = [window is not None and index >= first_local for index in range(len(spec.layers))]
    layers = (
        replace(layer, rope=rope, window=window if local else None)
        for layer, local in zip(spec.layers, _local_layers(text, pattern), strict=True)
    )
    return replace(
        spec,
        layers=tuple(layers),
        activation=_activation(text.text("hidden_act", "silu")),
        qkv_bias=spec.family == "qwen2",
    )


def _gemma3(spec: ModelSpec, text: Values) -> ModelSpec:
    window = text.integer("sliding_window", 4096, high=limits.MAX_CONTEXT)
    every = text.integer(
        "sliding_window_pattern",
        text.integer("_sliding_window_pattern", 6, high=limits.MAX_LAYERS),
        high=limits.MAX_LAYERS,
    )
    pattern = [(index + 1) % every != 0 for index in range(len(spec.layers))]
    everywhere, local = _gemma3_ropes(text)
    layers = (
        replace(layer, rope=local, window=window) if is_local else replace(layer, rope=everywhere)
        for layer, is_local in zip(spec.layers, _local_layers(text, pattern), strict=True)
    )
    scalar = text.number("query_pre_attn_scalar", 256, low=1e-6)
    return replace(
        spec,
        layers=tuple(layers),
        activation=_activation(text.text("hidden_activation", "gelu_pytorch_tanh")),
        embed_scale=spec.d_model**0.5,
        attn_scale=scalar**-0.5,
        qk_norm=True,
        post_norms=True,
    )


def _local_layers(text: Values, otherwise: list[bool]) -> list[bool]:
    """Whether each layer has a window: `layer_types` says it when it is there."""
    if not text.has("layer_types"):
        return otherwise
    kinds = text.sequence("layer_types", len(otherwise))
    for kind in kinds:
        if kind not in ("sliding_attention", "full_attention"):
            raise UnsupportedModel(f"layers of type {short(kind)}")
    return [kind == "sliding_attention" for kind in kinds]


def _activation(name: str) -> Activation:
    if name not in _ACTIVATIONS:
        raise UnsupportedModel(f"activation {short(name)} (supported: {', '.join(_ACTIVATIONS)})")
    return _ACTIVATIONS[name]


def _single_rope(text: Values) -> Rope:
    theta = text.number("rope_theta", 1e4, low=1.0)
    if text.has("rope_parameters"):
        return _rope(text.nested("rope_parameters"), theta)
    return _rope(text.nested("rope_scaling"), theta)


def _gemma3_ropes(text: Values) -> tuple[Rope, Rope]:
    """(of global layers, of local ones). The old `rope_scaling` is about global layers only."""
    theta = text.number("rope_theta", 1e6, low=1.0)
    local_theta = text.number("rope_local_base_freq", 1e4, low=1.0)
    parameters = text.nested("rope_parameters")
    if not text.has("rope_parameters"):
        return _rope(text.nested("rope_scaling"), theta), Rope(theta=local_theta)
    return (
        _rope(parameters.nested("full_attention"), theta),
        _rope(parameters.nested("sliding_attention"), local_theta),
    )


def _rope(values: Values, theta: float) -> Rope:
    """`values`: rope_type (or type), factor and so on; empty when nothing is scaled."""
    theta = values.number("rope_theta", theta, low=1.0)
    if values.number("partial_rotary_factor", 1.0) != 1.0:
        raise UnsupportedModel("rotary embedding of a part of each head")
    kind = values.text("rope_type", values.text("type", "default"))
    if kind == "default":
        return Rope(theta=theta)
    if kind == "linear":
        return Rope(theta=theta, linear=values.number("factor", low=1e-3, high=1e6))
    if kind != "llama3":
        raise UnsupportedModel(f"rotary scaling {short(kind)} (supported: linear, llama3)")
    low = values.number("low_freq_factor", low=1e-3, high=1e6)
    high = values.number("high_freq_factor", low=1e-3, high=1e6)
    if high <= low:
        raise DamagedCheckpoint(f"high_freq_factor {high} is not above low_freq_factor {low}")
    scaling = Llama3Scaling(
        factor=values.number("factor", low=1e-3, high=1e6),
        low_freq_factor=low,
        high_freq_factor=high,
        original_context=values.integer(
            "original_max_position_embeddings", high=limits.MAX_CONTEXT
        ),
    )
    return Rope(theta=theta, llama3=scaling)
