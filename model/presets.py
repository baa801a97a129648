"""Published decoders by name, as specifications: for planning memory and for tests, without a file.

Sources: the Gemma 3 report and gemma_pytorch's config.py; of Gemma 4, DeepMind's gemma 4.0.1 and
the model cards. Of 12B Unified the width of the MLP (four times the model's, as in its siblings)
is ours. What is served comes from a checkpoint's own configuration, never from here.
"""

from collections.abc import Mapping
from dataclasses import replace

from model.spec import Experts, LayerSpec, ModelSpec, Rope

_K = 1024
_GEMMA_VOCAB = 262144


def _gemma3(
    layers: int,
    d_model: int,
    d_ff: int,
    heads: tuple[int, int],
    window: int,
    *,
    head_dim: int = 256,
    scalar: float = 256,
    large: bool = True,
) -> ModelSpec:
    """heads: of queries and of keys. scalar: scores are divided by its root. large: 4B and up."""
    local = LayerSpec(*heads, head_dim, d_ff, Rope(1e4), window)
    everywhere = replace(local, window=None, rope=Rope(1e6, linear=8.0 if large else 1.0))
    return ModelSpec(
        family="gemma3",
        d_model=d_model,
        vocab_size=_GEMMA_VOCAB + (64 if large else 0),
        context=128 * _K if large else 32 * _K,
        layers=tuple(everywhere if (i + 1) % 6 == 0 else local for i in range(layers)),
        activation="gelu_tanh",
        embed_scale=d_model**0.5,
        attn_scale=scalar**-0.5,
        qk_norm=True,
        post_norms=True,
    )


def _gemma4(
    layers: int,
    d_model: int,
    d_ff: int,
    heads: tuple[int, int],
    window: int,
    *,
    every: int = 6,
    global_kv: int | None = None,
    sharing: int = 0,
    wide: int = 1,
    layer_inputs: int = 0,
    experts: Experts | None = None,
    context: int = 256 * _K,
) -> ModelSpec:
    """every: so many layers to a global one. global_kv: KV heads of global layers, whose keys are
    their values then. sharing: so many last layers read the keys of others, with MLPs `wide` times
    as wide."""
    local = LayerSpec(*heads, 256, d_ff, Rope(1e4), window, experts=experts)
    everywhere = replace(
        local,
        kv_heads=global_kv or local.kv_heads,
        head_dim=512,
        window=None,
        rope=Rope(1e6, turning=64),
        keys_are_values=global_kv is not None,
    )
    kinds = [everywhere if (i + 1) % every == 0 else local for i in range(layers)]
    first = layers - sharing
    last_of = {layer.window: index for index, layer in enumerate(kinds[:first])}
    shared = [
        replace(layer, kv_source=last_of[layer.window], d_ff=wide * d_ff) for layer in kinds[first:]
    ]
    return ModelSpec(
        family="gemma4",
        d_model=d_model,
        vocab_size=_GEMMA_VOCAB,
        context=context,
        layers=(*kinds[:first], *shared),
        activation="gelu_tanh",
        embed_scale=d_model**0.5,
        qk_norm=True,
        v_norm=True,
        post_norms=True,
        layer_scale=True,
        layer_inputs=layer_inputs,
        logit_cap=30.0,
    )


PRESETS: Mapping[str, ModelSpec] = {
    "gemma-3-270m": _gemma3(18, 640, 2048, (4, 1), 512, large=False),
    "gemma-3-1b": _gemma3(26, 1152, 6912, (4, 1), 512, large=False),
    "gemma-3-4b": _gemma3(34, 2560, 10240, (8, 4), 1024),
    "gemma-3-12b": _gemma3(48, 3840, 15360, (16, 8), 1024),
    "gemma-3-27b": _gemma3(62, 5376, 21504, (32, 16), 1024, head_dim=128, scalar=168),
    "gemma-4-e2b": _gemma4(
        35,
        1536,
        6144,
        (8, 1),
        512,
        every=5,
        sharing=20,
        wide=2,
        layer_inputs=256,
        context=128 * _K,
    ),
    "gemma-4-e4b": _gemma4(
        42, 2560, 10240, (8, 2), 512, sharing=18, layer_inputs=256, context=128 * _K
    ),
    "gemma-4-12b": _gemma4(48, 3840, 15360, (16, 8), 1024, global_kv=1),
    "gemma-4-26b-a4b": _gemma4(
        30, 2816, 2112, (16, 8), 1024, global_kv=2, experts=Experts(128, 8, 704)
    ),
    "gemma-4-31b": _gemma4(60, 5376, 21504, (32, 16), 1024, global_kv=4),
}
