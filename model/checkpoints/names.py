"""Canonical tensor names: their shapes, and what each file format calls them."""

from model.spec import Family, LayerSpec, ModelSpec

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

HF_TOP = {"embed": "embed_tokens", "final_norm": "norm"}
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
}


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
    table = HF_LAYER_GEMMA if family == "gemma3" else HF_LAYER
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
    for index, layer in enumerate(spec.layers):
        for part, shape in _layer_shapes(spec, layer).items():
            shapes[f"{_LAYER}{index}.{part}"] = shape
    return shapes


def _layer_shapes(spec: ModelSpec, layer: LayerSpec) -> dict[str, tuple[int, ...]]:
    width = spec.d_model
    queries = layer.heads * layer.head_dim
    keys = layer.kv_heads * layer.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "attn_norm": (width,),
        "q": (queries, width),
        "k": (keys, width),
        "v": (keys, width),
        "o": (width, queries),
        "mlp_norm": (width,),
        "gate": (layer.d_ff, width),
        "up": (layer.d_ff, width),
        "down": (width, layer.d_ff),
    }
    if spec.qkv_bias:
        shapes |= {"q_bias": (queries,), "k_bias": (keys,), "v_bias": (keys,)}
    if spec.qk_norm:
        shapes |= {"q_norm": (layer.head_dim,), "k_norm": (layer.head_dim,)}
    if spec.post_norms:
        shapes |= {"post_attn_norm": (width,), "post_mlp_norm": (width,)}
    return shapes
