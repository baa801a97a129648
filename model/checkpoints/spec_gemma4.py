"""What is Gemma 4's own in a Hugging Face `config.json`, plain and Unified.

Layers may differ in heads and widths. transformers 5.23 writes that by layer, as
`per_layer_config`; earlier and on the hub it is `global_head_dim` and
`num_global_key_value_heads`. Defaults are those of the classes Gemma4TextConfig and
Gemma4UnifiedTextConfig.
"""

from dataclasses import replace

from model.checkpoints import limits
from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.hf_parts import activation, check_heads, local_layers, rope_of
from model.checkpoints.values import Values, short
from model.spec import Experts, LayerSpec, ModelSpec, Rope, UnsupportedModel

_PATTERN = 6
_GLOBAL_HEAD_DIM = 512
_TURNING_SHARE = 0.25
_OVERRIDES = frozenset(("head_dim", "num_key_value_heads"))


def gemma4(spec: ModelSpec, text: Values, *, unified: bool) -> ModelSpec:
    """The specification, of which `spec` has what all families say in the same words.

    Raises DamagedCheckpoint, UnsupportedModel.
    """
    layers = _shared(_attending(spec, text, unified), text)
    return replace(
        spec,
        layers=tuple(replace(layer, experts=_experts(text)) for layer in layers),
        activation=activation(text.text("hidden_activation", "gelu_pytorch_tanh")),
        embed_scale=spec.d_model**0.5,
        attn_scale=1.0,
        qk_norm=True,
        v_norm=True,
        post_norms=True,
        layer_scale=True,
        layer_inputs=0 if unified else _layer_inputs(spec, text),
        logit_cap=_logit_cap(text),
    )


def _attending(spec: ModelSpec, text: Values, unified: bool) -> list[LayerSpec]:
    """Layers with their windows, heads and rotary embeddings."""
    count = len(spec.layers)
    pattern = [(index + 1) % _PATTERN != 0 for index in range(count)]
    local = local_layers(text, pattern)
    local[-1] = False  # as the model's own code forces it
    window = text.integer("sliding_window", 1024 if unified else 512, high=limits.MAX_CONTEXT)
    keys_are_values = text.flag("attention_k_eq_v", False)
    overrides = _per_layer(text, local, keys_are_values)
    layers = []
    for layer, is_local, values in zip(spec.layers, local, overrides, strict=True):
        layer = replace(
            layer,
            kv_heads=values.integer("num_key_value_heads", layer.kv_heads, high=limits.MAX_HEADS),
            head_dim=values.integer("head_dim", layer.head_dim, high=limits.MAX_HEAD_DIM),
            window=window if is_local else None,
            keys_are_values=keys_are_values and not is_local,
        )
        check_heads(layer)
        layers.append(replace(layer, rope=_rope(text, layer.head_dim, is_local)))
    return layers


def _per_layer(text: Values, local: list[bool], keys_are_values: bool) -> list[Values]:
    """What each layer has other than the rest."""
    if text.has("per_layer_config"):
        return _written(text.nested("per_layer_config"), len(local))
    everywhere = {
        "head_dim": text.integer("global_head_dim", _GLOBAL_HEAD_DIM, high=limits.MAX_HEAD_DIM)
    }
    if keys_are_values and text.has("num_global_key_value_heads"):
        heads = text.integer("num_global_key_value_heads", high=limits.MAX_HEADS)
        everywhere["num_key_value_heads"] = heads
    return [Values({} if is_local else everywhere) for is_local in local]


def _written(by_layer: Values, count: int) -> list[Values]:
    found = [Values({})] * count
    for key in by_layer.names:
        if not (key.isascii() and key.isdigit() and len(key) <= 9 and int(key) < count):
            raise DamagedCheckpoint(f"per_layer_config has {short(key)}, which is no layer")
        values = by_layer.nested(key)
        if unknown := sorted(set(values.names) - _OVERRIDES):
            raise UnsupportedModel(f"{short(unknown[0])} of a single layer")
        found[int(key)] = values
    return found


def _rope(text: Values, head_dim: int, is_local: bool) -> Rope:
    kind = "sliding_attention" if is_local else "full_attention"
    if not text.has("rope_parameters"):
        turning = None if is_local else int(_TURNING_SHARE * head_dim // 2)
        return Rope(1e4) if is_local else Rope(1e6, turning=turning)
    parameters = text.nested("rope_parameters")
    if not parameters.has(kind):
        raise DamagedCheckpoint(f"rope_parameters has no {kind}")
    return rope_of(parameters.nested(kind), 1e4 if is_local else 1e6, head_dim)


def _shared(layers: list[LayerSpec], text: Values) -> list[LayerSpec]:
    """The last layers read keys and values of the last layer of their kind before them."""
    count = text.integer("num_kv_shared_layers", 0, low=0, high=limits.MAX_LAYERS)
    if count == 0:
        return layers
    first = len(layers) - count
    last_of = {layer.window: index for index, layer in enumerate(layers[: max(first, 0)])}
    factor = 2 if text.flag("use_double_wide_mlp", False) else 1
    shared = []
    for layer in layers[max(first, 0) :]:
        source = last_of.get(layer.window)
        if source is None:
            raise DamagedCheckpoint(
                f"{count} of {len(layers)} layers share keys, of a kind that none of the others has"
            )
        if (layer.kv_heads, layer.head_dim) != (layers[source].kv_heads, layers[source].head_dim):
            raise DamagedCheckpoint("layers that share keys differ in their heads")
        shared.append(
            replace(layer, kv_source=source, keys_are_values=False, d_ff=factor * layer.d_ff)
        )
    return layers[:first] + shared


def _experts(text: Values) -> Experts | None:
    if not text.flag("enable_moe_block", False):
        return None
    count = text.integer("num_experts", high=limits.MAX_EXPERTS)
    return Experts(
        count=count,
        top=text.integer("top_k_experts", high=count),
        d_ff=text.integer("moe_intermediate_size", high=limits.MAX_WIDTH),
    )


def _layer_inputs(spec: ModelSpec, text: Values) -> int:
    width = text.integer("hidden_size_per_layer_input", 256, low=0, high=limits.MAX_WIDTH)
    rows = text.integer("vocab_size_per_layer_input", 262144, high=limits.MAX_VOCAB)
    if width and rows != spec.vocab_size:
        raise UnsupportedModel(
            f"a table of layer inputs with {rows} rows beside a vocabulary of {spec.vocab_size}"
        )
    return width


def _logit_cap(text: Values) -> float | None:
    if not text.has("final_logit_softcapping"):
        return None
    return text.number("final_logit_softcapping", low=1e-3, high=1e6)
