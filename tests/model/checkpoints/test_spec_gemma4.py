"""What a config.json of Gemma 4 means, in the hub's words and in transformers 5.23's."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoints import DamagedCheckpoint, UnsupportedModel
from model.checkpoints.spec_hf import spec_from_config
from model.presets import PRESETS
from model.spec import Experts, Rope
from tests.model.checkpoints.test_spec_hf import JUNK
from tests.model.checkpoints.tiny import is_one_line

TINY: dict[str, Any] = {
    "architectures": ["Gemma4ForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "vocab_size": 300,
    "vocab_size_per_layer_input": 300,
    "hidden_size_per_layer_input": 0,
    "max_position_embeddings": 128,
    "sliding_window": 8,
}
LOCAL, GLOBAL = "sliding_attention", "full_attention"
SHARING = TINY | {
    "num_kv_shared_layers": 3,
    "layer_types": [LOCAL, LOCAL, GLOBAL, GLOBAL] + [LOCAL] * 2 + [GLOBAL],
}
MIXTURE = TINY | {
    "enable_moe_block": True,
    "num_experts": 4,
    "top_k_experts": 2,
    "moe_intermediate_size": 24,
}


def published(architecture: str, text: dict[str, Any]) -> dict[str, Any]:
    everything = {"final_logit_softcapping": 30.0, "vocab_size": 262144, "head_dim": 256}
    return {"architectures": [architecture], "text_config": everything | text}


UNIFIED_12B = published(
    "Gemma4UnifiedForConditionalGeneration",
    {
        "hidden_size": 3840,
        "intermediate_size": 15360,
        "num_hidden_layers": 48,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "num_global_key_value_heads": 1,
        "attention_k_eq_v": True,
        "use_bidirectional_attention": "vision",
    },
)
E2B = published(
    "Gemma4ForConditionalGeneration",
    {
        "hidden_size": 1536,
        "intermediate_size": 6144,
        "num_hidden_layers": 35,
        "num_attention_heads": 8,
        "num_key_value_heads": 1,
        "num_kv_shared_layers": 20,
        "use_double_wide_mlp": True,
        "layer_types": ([LOCAL] * 4 + [GLOBAL]) * 7,
    },
)
MIXTURE_26B = published(
    "Gemma4ForConditionalGeneration",
    {
        "hidden_size": 2816,
        "intermediate_size": 2112,
        "num_hidden_layers": 30,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "num_global_key_value_heads": 2,
        "attention_k_eq_v": True,
        "hidden_size_per_layer_input": 0,
        "sliding_window": 1024,
        "max_position_embeddings": 262144,
        "enable_moe_block": True,
        "num_experts": 128,
        "top_k_experts": 8,
        "moe_intermediate_size": 704,
    },
)


@pytest.mark.parametrize(
    ("config", "preset"),
    [
        pytest.param(UNIFIED_12B, "gemma-4-12b", id="12b"),
        pytest.param(E2B, "gemma-4-e2b", id="e2b"),
        pytest.param(MIXTURE_26B, "gemma-4-26b-a4b", id="26b-a4b"),
    ],
)
def test_published_shapes_are_read_as_the_presets_say(config: dict[str, Any], preset: str) -> None:
    assert spec_from_config(config) == PRESETS[preset]


def test_overrides_by_layer_say_what_the_hubs_words_say() -> None:
    old = TINY | {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
    own = {"head_dim": 32, "num_key_value_heads": 1}
    new = TINY | {"attention_k_eq_v": True, "per_layer_config": {"05": own, "6": own}}
    del new["global_head_dim"]
    assert spec_from_config(old) == spec_from_config(new)
    layers = spec_from_config(new).layers
    assert [(layer.kv_heads, layer.head_dim) for layer in layers] == [(2, 16)] * 5 + [(1, 32)] * 2
    assert [layer.keys_are_values for layer in layers] == [False] * 5 + [True] * 2


def test_global_layers_keep_the_heads_of_others_unless_keys_are_values() -> None:
    spec = spec_from_config(TINY | {"num_global_key_value_heads": 1})
    assert {layer.kv_heads for layer in spec.layers} == {2}


def test_every_sixth_layer_is_global_and_the_last_one_is() -> None:
    assert [layer.window for layer in spec_from_config(TINY).layers] == [8] * 5 + [None] * 2
    listed = TINY | {"layer_types": [LOCAL] * 7}
    assert [layer.window for layer in spec_from_config(listed).layers] == [8] * 6 + [None]


def test_a_quarter_of_a_global_head_turns() -> None:
    layers = spec_from_config(TINY).layers
    assert (layers[0].rope, layers[5].rope) == (Rope(1e4), Rope(1e6, turning=4))
    written = {
        LOCAL: {"rope_type": "default", "rope_theta": 500.0},
        GLOBAL: {"rope_type": "proportional", "partial_rotary_factor": 0.5, "factor": 2.0},
    }
    layers = spec_from_config(TINY | {"rope_parameters": written}).layers
    assert (layers[0].rope, layers[5].rope) == (Rope(500.0), Rope(1e6, linear=2.0, turning=8))


def test_the_last_layers_read_keys_of_the_last_layer_of_their_kind_before_them() -> None:
    spec = spec_from_config(SHARING | {"use_double_wide_mlp": True})
    assert [layer.kv_source for layer in spec.layers] == [None] * 4 + [1, 1, 3]
    assert [layer.d_ff for layer in spec.layers] == [96] * 4 + [192] * 3
    assert len(spec.kv_layers) == 4
    assert spec.kv_index == (0, 1, 2, 3, 1, 1, 3)


def test_experts_and_what_logits_are_capped_by() -> None:
    spec = spec_from_config(MIXTURE | {"final_logit_softcapping": 30.0})
    assert {layer.experts for layer in spec.layers} == {Experts(count=4, top=2, d_ff=24)}
    assert spec.logit_cap == 30.0
    assert spec_from_config(TINY).logit_cap is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"use_bidirectional_attention": "all"}, "bidirectional"),
        ({"attention_bias": True}, "attention biases in a gemma4 model"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"per_layer_config": {"1": {"intermediate_size": 8}}}, "'intermediate_size' of a single"),
        (
            {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 299},
            "299 rows beside a vocabulary of 300",
        ),
    ],
)
def test_what_the_decoder_does_not_have_is_unsupported(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        spec_from_config(TINY | more)
    assert is_one_line(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (TINY | {"per_layer_config": {"7": {}}}, "'7', which is no layer"),
        (TINY | {"per_layer_config": {"full": {}}}, "'full', which is no layer"),
        (TINY | {"per_layer_config": {"1": {"num_key_value_heads": 3}}}, "do not divide"),
        (TINY | {"rope_parameters": {LOCAL: {}}}, "rope_parameters has no full_attention"),
        (TINY | {"final_logit_softcapping": 0.0}, "final_logit_softcapping is 0.0"),
        (TINY | {"num_kv_shared_layers": 7}, "7 of 7 layers share keys"),
        (TINY | {"num_kv_shared_layers": 3}, "of a kind that none of the others has"),
        (SHARING | {"per_layer_config": {"3": {"head_dim": 8}}}, "differ in their heads"),
        (MIXTURE | {"top_k_experts": 5}, r"top_k_experts is 5, outside \[1, 4\]"),
        (MIXTURE | {"num_experts": None}, "num_experts is missing"),
    ],
)
def test_senseless_values_are_damage(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DamagedCheckpoint, match=message) as caught:
        spec_from_config(config)
    assert is_one_line(caught.value)


KEYS = st.sampled_from(
    [
        *MIXTURE,
        "attention_k_eq_v",
        "final_logit_softcapping",
        "layer_types",
        "num_global_key_value_heads",
        "num_kv_shared_layers",
        "per_layer_config",
        "rope_parameters",
        "use_bidirectional_attention",
        "use_double_wide_mlp",
    ]
)


@given(base=st.sampled_from([TINY, SHARING, MIXTURE]), more=st.dictionaries(KEYS, JUNK, max_size=4))
def test_any_config_is_read_or_refused_in_one_line(
    base: dict[str, Any], more: dict[str, Any]
) -> None:
    try:
        spec = spec_from_config(base | more)
    except (DamagedCheckpoint, UnsupportedModel) as error:
        refused = is_one_line(error)
    else:
        refused = len(spec.kv_index) == len(spec.layers)
    assert refused
