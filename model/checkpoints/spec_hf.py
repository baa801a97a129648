"""From a Hugging Face `config.json` to a `ModelSpec`.

Both styles of rotary settings are read: `rope_theta` and `rope_scaling` (transformers 4), and
`rope_parameters` (transformers 5; for gemma3 one object per layer type). Published configs leave
out what equals the class's default, so the defaults here are those of the configuration classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from model.checkpoints import limits
from model.checkpoints.hf_parts import activation, check_heads, local_layers, rope_of, single_rope
from model.checkpoints.spec_gemma4 import gemma4
from model.checkpoints.values import Values, short
from model.checkpoints.vision_hf import gemma3_vision
from model.spec import Family, LayerSpec, ModelSpec, Rope, UnsupportedModel

ARCHITECTURES: Mapping[str, Family] = {
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Gemma3ForCausalLM": "gemma3",
    "Gemma3ForConditionalGeneration": "gemma3",
    "Gemma4ForCausalLM": "gemma4",
    "Gemma4ForConditionalGeneration": "gemma4",  # its text part
    "Gemma4UnifiedForCausalLM": "gemma4",
    "Gemma4UnifiedForConditionalGeneration": "gemma4",  # its text part
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
    "gemma4": _Defaults(2304, 9216, 30, 8, 4, 256, 262144, 131072, tied=True),
}
_UNIFIED = replace(_DEFAULTS["gemma4"], context=262144)


def spec_from_config(config: Mapping[str, Any]) -> ModelSpec:
    """Raises DamagedCheckpoint for senseless values, UnsupportedModel for an architecture or an
    option that the decoder does not have."""
    architecture = _architecture(config)
    family = ARCHITECTURES[architecture]
    unified = architecture.startswith("Gemma4Unified")
    default = _UNIFIED if unified else _DEFAULTS[family]
    values = Values(config)
    if values.has("quantization_config"):
        raise UnsupportedModel("weights quantised in Hugging Face's formats (GGUF ones are read)")
    text = values.nested("text_config") if values.has("text_config") else values
    _refuse_options(text, family)
    # Either place may say it; transformers asks the outer one.
    tied = text.flag("tie_word_embeddings", default.tied)
    spec = _base(family, text, default, values.flag("tie_word_embeddings", tied))
    if family == "gemma4":
        return gemma4(spec, text, unified=unified)
    if family != "gemma3":
        return _plain(spec, text)
    return replace(_gemma3(spec, text), vision=gemma3_vision(values))


def _architecture(config: Mapping[str, Any]) -> str:
    claimed = config.get("architectures")
    names = [name for name in claimed if isinstance(name, str)] if isinstance(claimed, list) else []
    for name in names:
        if name in ARCHITECTURES:
            return name
    raise UnsupportedModel(
        f"architecture {short(', '.join(names) or 'none given')} "
        f"(supported in Hugging Face folders: {', '.join(ARCHITECTURES)})"
    )


def _refuse_options(text: Values, family: Family) -> None:
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if text.has(key) and (family, key) != ("gemma4", "final_logit_softcapping"):
            raise UnsupportedModel(f"{key} is set")
    # Gemma 4 says "vision" of image tokens alone, of which a text has none.
    both_ways = text.raw("use_bidirectional_attention")
    if both_ways and not (family == "gemma4" and both_ways == "vision"):
        raise UnsupportedModel("bidirectional attention")
    if text.flag("mlp_bias", False):
        raise UnsupportedModel("biases in the MLP")
    # In llama and gemma3 this one adds a bias to the output projection too.
    if family != "qwen2" and text.flag("attention_bias", False):
        raise UnsupportedModel(f"attention biases in a {family} model")


def _base(family: Family, text: Values, default: _Defaults, tied: bool) -> ModelSpec:
    """What all families say in the same words. Rotary embedding and windows are the caller's."""
    d_model = text.integer("hidden_size", default.width, high=limits.MAX_WIDTH)
    heads = text.integer("num_attention_heads", default.heads, high=limits.MAX_HEADS)
    kv_heads = text.integer("num_key_value_heads", default.kv_heads or heads, high=limits.MAX_HEADS)
    head_dim = text.integer(
        "head_dim", default.head_dim or max(1, d_model // heads), high=limits.MAX_HEAD_DIM
    )
    d_ff = text.integer("intermediate_size", default.d_ff, high=limits.MAX_WIDTH)
    layers = text.integer("num_hidden_layers", default.layers, high=limits.MAX_LAYERS)
    layer = LayerSpec(
        heads=heads, kv_heads=kv_heads, head_dim=head_dim, d_ff=d_ff, rope=Rope(theta=1.0)
    )
    check_heads(layer)
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
    rope = single_rope(text)
    window = None
    if spec.family == "qwen2" and text.flag("use_sliding_window", False):
        window = text.integer("sliding_window", 4096, high=limits.MAX_CONTEXT)
    first_local = text.integer("max_window_layers", 28, low=0, high=limits.MAX_LAYERS)
    pattern = [window is not None and index >= first_local for index in range(len(spec.layers))]
    layers = (
        replace(layer, rope=rope, window=window if local else None)
        for layer, local in zip(spec.layers, local_layers(text, pattern), strict=True)
    )
    return replace(
        spec,
        layers=tuple(layers),
        activation=activation(text.text("hidden_act", "silu")),
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
        for layer, is_local in zip(spec.layers, local_layers(text, pattern), strict=True)
    )
    scalar = text.number("query_pre_attn_scalar", 256, low=1e-6)
    return replace(
        spec,
        layers=tuple(layers),
        activation=activation(text.text("hidden_activation", "gelu_pytorch_tanh")),
        embed_scale=spec.d_model**0.5,
        attn_scale=scalar**-0.5,
        qk_norm=True,
        post_norms=True,
    )


def _gemma3_ropes(text: Values) -> tuple[Rope, Rope]:
    """(of global layers, of local ones). The old `rope_scaling` is about global layers only."""
    theta = text.number("rope_theta", 1e6, low=1.0)
    local_theta = text.number("rope_local_base_freq", 1e4, low=1.0)
    parameters = text.nested("rope_parameters")
    if not text.has("rope_parameters"):
        return rope_of(text.nested("rope_scaling"), theta), Rope(theta=local_theta)
    return (
        rope_of(parameters.nested("full_attention"), theta),
        rope_of(parameters.nested("sliding_attention"), local_theta),
    )
