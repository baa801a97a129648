"""Canonical tensor names: their shapes, and what each file format calls them."""

from model.spec import Family, LayerSpec, ModelSpec, fused_names, optional_norms

_LAYER = "layers."

GGUF_TOP = {"embed": "token_embd", "final_norm": "output_norm", "head": "output"}
GGUF_LAYER = {
    "attn_norm": "attn_norm.weight",
    "q": "attn_q.weight",
    "k": "attn_k.weight",
    "v": "attn_v.weight",
    "o": "attn_output.weight",
    "q_bias": "attn_q.bias",
    "k_bias": "attn_k.bias",
    "v_bias": "attn_v.bias",
    "q_norm": "attn_q_norm.weight",
    "k_norm": "attn_k_norm.weight",
    "post_attn_norm": "post_attention_norm.weight",
    "mlp_norm": "ffn_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
    "post_mlp_norm": "post_ffw_norm.weight",
}

HF_TOP = {
    "embed": "embed_tokens",
    "final_norm": "norm",
    "inputs_embed": "embed_tokens_per_layer",
    "inputs_project": "per_layer_model_projection",
    "inputs_norm": "per_layer_projection_norm",
}
HF_LAYER = {
    "attn_norm": "input_layernorm.weight",
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.o_proj.weight",
    "q_bias": "self_attn.q_proj.bias",
    "k_bias": "self_attn.k_proj.bias",
    "v_bias": "self_attn.v_proj.bias",
    "q_norm": "self_attn.q_norm.weight",
    "k_norm": "self_attn.k_norm.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
}
# The same name, another place: gemma's post_attention_layernorm comes before the residual sum.
HF_LAYER_GEMMA = HF_LAYER | {
    "post_attn_norm": "post_attention_layernorm.weight",
    "mlp_norm": "pre_feedforward_layernorm.weight",
    "post_mlp_norm": "post_feedforward_layernorm.weight",
    "layer_scale": "layer_scalar",
    "input_gate": "per_layer_input_gate.weight",
    "input_out": "per_layer_projection.weight",
    "input_norm": "post_per_layer_input_norm.weight",
    "dense_post_norm": "post_feedforward_layernorm_1.weight",
    "router": "router.proj.weight",
    "router_scale": "router.scale",
    "expert_scale": "router.per_expert_scale",
    "expert_norm": "pre_feedforward_layernorm_2.weight",
    "expert_gate_up": "experts.gate_up_proj",
    "expert_down": "experts.down_proj",
    "expert_post_norm": "post_feedforward_layernorm_2.weight",
}
# Of layers that read another's keys and values: files may carry these, and nothing uses them.
HF_UNUSED_OF_SHARING = tuple(
    f"self_attn.{name}.weight" for name in ("k_proj", "v_proj", "k_norm", "v_norm")
)


def gguf_name(name: str) -> str:
    if name in GGUF_TOP:
        return f"{GGUF_TOP[name]}.weight"
    index, part = split_layer(name)
    return f"blk.{index}.{GGUF_LAYER[part]}"


def hf_name(name: str, family: Family, prefix: str, head: str) -> str:
    """prefix: of the decoder's tensors, "model." or a multimodal wrapper's. head: of the head's."""
    if name == "head":
        return f"{head}lm_head.weight"
    if name in HF_TOP:
        return f"{prefix}{HF_TOP[name]}.weight"
    index, part = split_layer(name)
    table = HF_LAYER_GEMMA if family in ("gemma3", "gemma4") else HF_LAYER
    return f"{prefix}layers.{index}.{table[part]}"


def split_layer(name: str) -> tuple[int, str]:
    """ "layers.3.q" -> (3, "q")."""
    index, _, part = name.removeprefix(_LAYER).partition(".")
    return int(index), part


def tensor_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Every tensor that the specification has, by canonical name (see `base.Checkpoint`)."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed": (spec.vocab_size, spec.d_model),
        "final_norm": (spec.d_model,),
    }
    if not spec.tied_head:
        shapes["head"] = (spec.vocab_size, spec.d_model)
    if spec.layer_inputs:
        width = len(spec.layers) * spec.layer_inputs
        shapes |= {
            "inputs_embed": (spec.vocab_size, width),
            "inputs_project": (width, spec.d_model),
            "inputs_norm": (spec.layer_inputs,),
        }
    for index, layer in enumerate(spec.layers):
        for part, shape in _layer_shapes(spec, layer).items():
            shapes[f"{_LAYER}{index}.{part}"] = shape
    return shapes


def unused_names(spec: ModelSpec, prefix: str) -> set[str]:
    """Tensors that a Hugging Face folder may carry and the decoder has no use for."""
    return {
        f"{prefix}layers.{index}.{part}"
        for index, layer in enumerate(spec.layers)
        if layer.kv_source is not None
        for part in HF_UNUSED_OF_SHARING
    }


def _layer_shapes(spec: ModelSpec, layer: LayerSpec) -> dict[str, tuple[int, ...]]:
    width, ff = spec.d_model, layer.d_ff
    queries = layer.heads * layer.head_dim
    rows = dict.fromkeys("kv", layer.kv_heads * layer.head_dim) | {"q": queries}
    own = fused_names(layer)
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (width,),
        **{name: (rows[name], width) for name in own},
        "o": (width, queries),
        "mlp_norm": (width,),
        "gate": (ff, width),
        "up": (ff, width),
        "down": (width, ff),
    }
    if spec.qkv_bias:
        shapes |= {f"{name}_bias": (rows[name],) for name in own}
    for name in optional_norms(spec, layer):
        shapes[name] = (layer.head_dim if name in ("q_norm", "k_norm") else width,)
    if spec.layer_scale:
        shapes["layer_scale"] = (1,)
    if spec.layer_inputs:
        shapes |= {
            "input_gate": (spec.layer_inputs, width),
            "input_out": (width, spec.layer_inputs),
        }
    if (experts := layer.experts) is not None:
        shapes |= {
            "router": (experts.count, width),
            "router_scale": (width,),
            "expert_scale": (experts.count,),
            "expert_gate_up": (experts.count, 2 * experts.d_ff, width),
            "expert_down": (experts.count, width, experts.d_ff),
        }
    return shapes
