"""Image encoders in Hugging Face folders: their specification, and their tensors' names."""

import math
from collections.abc import Iterable

from model.checkpoints import limits
from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.values import Values, short
from model.spec import ModelSpec, UnsupportedModel, VisionSpec

# (prefix of the tower, prefix of the projector): the hub's layout, and as transformers 5 saves it;
# those that transformers 4 and 5 keep in memory and may save.
_PLACES = (
    ("vision_tower.vision_model.", "multi_modal_projector."),
    ("vision_tower.", "multi_modal_projector."),
    ("model.vision_tower.vision_model.", "model.multi_modal_projector."),
    ("model.vision_tower.", "model.multi_modal_projector."),
)
_TOWER = {
    "patches": "embeddings.patch_embedding.weight",
    "patch_bias": "embeddings.patch_embedding.bias",
    "positions": "embeddings.position_embedding.weight",
    "last_scale": "post_layernorm.weight",
    "last_bias": "post_layernorm.bias",
}
_PROJECTOR = {
    "soft_norm": "mm_soft_emb_norm.weight",
    "projection": "mm_input_projection_weight",
}
_LAYER = {
    "scale_1": "layer_norm1.weight",
    "bias_1": "layer_norm1.bias",
    "q": "self_attn.q_proj.weight",
    "k": "self_attn.k_proj.weight",
    "v": "self_attn.v_proj.weight",
    "o": "self_attn.out_proj.weight",
    "q_bias": "self_attn.q_proj.bias",
    "k_bias": "self_attn.k_proj.bias",
    "v_bias": "self_attn.v_proj.bias",
    "o_bias": "self_attn.out_proj.bias",
    "scale_2": "layer_norm2.weight",
    "bias_2": "layer_norm2.bias",
    "up": "mlp.fc1.weight",
    "up_bias": "mlp.fc1.bias",
    "down": "mlp.fc2.weight",
    "down_bias": "mlp.fc2.bias",
}


def gemma3_vision(config: Values) -> VisionSpec | None:
    """Of a multimodal `config.json`; None where it has no image encoder.

    Defaults are those of transformers' SiglipVisionConfig and Gemma3Config. Raises
    DamagedCheckpoint for sizes that do not go together, UnsupportedModel for other encoders.
    """
    if not config.has("vision_config"):
        return None
    tower = config.nested("vision_config")
    kind = tower.text("model_type", "siglip_vision_model")
    if kind != "siglip_vision_model":
        raise UnsupportedModel(f"an image encoder of type {short(kind)}")
    activation = tower.text("hidden_act", "gelu_pytorch_tanh")
    if activation != "gelu_pytorch_tanh":
        raise UnsupportedModel(f"activation {short(activation)} in the image encoder")
    if tower.integer("num_channels", 3, high=limits.MAX_WIDTH) != 3:
        raise UnsupportedModel("images of other than three channels")
    spec = VisionSpec(
        image_size=tower.integer("image_size", 224, high=limits.MAX_IMAGE_SIZE),
        patch_size=tower.integer("patch_size", 16, high=limits.MAX_IMAGE_SIZE),
        d_model=tower.integer("hidden_size", 768, high=limits.MAX_WIDTH),
        d_ff=tower.integer("intermediate_size", 3072, high=limits.MAX_WIDTH),
        layers=tower.integer("num_hidden_layers", 12, high=limits.MAX_LAYERS),
        heads=tower.integer("num_attention_heads", 12, high=limits.MAX_HEADS),
        tokens=config.integer("mm_tokens_per_image", 256, high=limits.MAX_SOFT_TOKENS),
        placeholder=config.integer("image_token_index", 262144, low=0, high=limits.MAX_VOCAB),
        norm_eps=tower.number("layer_norm_eps", 1e-6, high=1.0),
    )
    if spec.d_model % spec.heads:
        raise DamagedCheckpoint(
            f"the image encoder's width {spec.d_model} does not divide among {spec.heads} heads"
        )
    across = math.isqrt(spec.tokens)
    if spec.image_size % spec.patch_size or across**2 != spec.tokens or spec.side % across:
        raise DamagedCheckpoint(
            f"images of {spec.image_size} pixels in patches of {spec.patch_size} do not make "
            f"{spec.tokens} soft tokens"
        )
    return spec


def vision_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Every tensor of the image encoder by canonical name (see `base.Checkpoint`)."""
    vision = spec.vision
    if vision is None:
        return {}
    D, F, P = vision.d_model, vision.d_ff, vision.patch_size
    shapes: dict[str, tuple[int, ...]] = {
        "patches": (D, 3, P, P),
        "patch_bias": (D,),
        "positions": (vision.side**2, D),
        "last_scale": (D,),
        "last_bias": (D,),
        "soft_norm": (D,),
        "projection": (D, spec.d_model),
    }
    wide = {"up": (F, D), "up_bias": (F,), "down": (D, F)}
    square = dict.fromkeys(("q", "k", "v", "o"), (D, D))
    for index in range(vision.layers):
        for part in _LAYER:
            shapes[f"layers.{index}.{part}"] = wide.get(part) or square.get(part) or (D,)
    return {f"vision.{name}": shape for name, shape in shapes.items()}


def vision_names(spec: ModelSpec, stored: Iterable[str]) -> dict[str, str]:
    """What the files call these tensors. stored: the names in the files, which tell the layout.

    Raises DamagedCheckpoint when no known layout has the first of them.
    """
    stored = set(stored)
    for tower, projector in _PLACES:
        if tower + _TOWER["patches"] in stored:
            return {name: _file_name(name, tower, projector) for name in vision_shapes(spec)}
    raise DamagedCheckpoint(f"tensor '{_PLACES[0][0]}{_TOWER['patches']}' is missing")


def _file_name(name: str, tower: str, projector: str) -> str:
    part = name.removeprefix("vision.")
    if part in _PROJECTOR:
        return projector + _PROJECTOR[part]
    if part in _TOWER:
        return tower + _TOWER[part]
    _, index, part = part.split(".")
    return f"{tower}encoder.layers.{index}.{_LAYER[part]}"
