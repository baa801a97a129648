"""Parts of a Hugging Face `config.json` that several families say alike."""

from collections.abc import Mapping

from model.checkpoints import limits
from model.checkpoints.base import DamagedCheckpoint
from model.checkpoints.values import Values, short
from model.spec import Activation, LayerSpec, Llama3Scaling, Rope, UnsupportedModel

_ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
}


def local_layers(text: Values, otherwise: list[bool]) -> list[bool]:
    """Whether each layer has a window: `layer_types` says it when it is there."""
    if not text.has("layer_types"):
        return otherwise
    kinds = text.sequence("layer_types", len(otherwise))
    for kind in kinds:
        if kind not in ("sliding_attention", "full_attention"):
            raise UnsupportedModel(f"layers of type {short(kind)}")
    return [kind == "sliding_attention" for kind in kinds]


def activation(name: str) -> Activation:
    if name not in _ACTIVATIONS:
        raise UnsupportedModel(f"activation {short(name)} (supported: {', '.join(_ACTIVATIONS)})")
    return _ACTIVATIONS[name]


def single_rope(text: Values) -> Rope:
    theta = text.number("rope_theta", 1e4, low=1.0)
    if text.has("rope_parameters"):
        return rope_of(text.nested("rope_parameters"), theta)
    return rope_of(text.nested("rope_scaling"), theta)


def rope_of(values: Values, theta: float, head_dim: int | None = None) -> Rope:
    """`values`: rope_type (or type), factor and so on; empty when nothing is scaled. head_dim: of
    families that may turn a part of each head."""
    theta = values.number("rope_theta", theta, low=1.0)
    kind = values.text("rope_type", values.text("type", "default"))
    share = values.number("partial_rotary_factor", 1.0, high=1.0)
    if kind == "proportional" and head_dim is not None:
        linear = values.number("factor", 1.0, low=1e-3, high=1e6)
        return Rope(theta=theta, linear=linear, turning=int(share * head_dim // 2))
    if share != 1.0:
        raise UnsupportedModel("rotary embedding of a part of each head")
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


def check_heads(layer: LayerSpec) -> None:
    """Raises DamagedCheckpoint for heads that cannot be."""
    if layer.heads % layer.kv_heads:
        raise DamagedCheckpoint(
            f"{layer.heads} attention heads do not divide among {layer.kv_heads} of keys"
        )
    if layer.head_dim % 2:
        raise DamagedCheckpoint(f"attention heads of odd width {layer.head_dim}")
