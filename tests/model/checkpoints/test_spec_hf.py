"""What config.json means for the decoder, in the words of transformers 4 and 5."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.checkpoints import DamagedCheckpoint, UnsupportedModel
from model.checkpoints.spec_hf import spec_from_config
from model.spec import Llama3Scaling, ModelSpec, Rope
from tests.model.checkpoints.tiny import PARITY, is_one_line

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"]}
GEMMA3 = LLAMA | {"architectures": ["Gemma3ForCausalLM"], "num_hidden_layers": 7, "head_dim": 16}
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def windows(spec: ModelSpec) -> list[int | None]:
    return [layer.window for layer in spec.layers]


def ropes(spec: ModelSpec) -> set[Rope]:
    return {layer.rope for layer in spec.layers}


@pytest.mark.parametrize(
    ("more", "rope"),
    [
        ({}, Rope(theta=1e4)),
        ({"rope_theta": 5e5}, Rope(theta=5e5)),
        ({"rope_theta": 5e5, "rope_scaling": None}, Rope(theta=5e5)),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, Rope(theta=1e4, linear=2.0)),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, Rope(theta=1e4, linear=2.0)),
        (
            {"rope_theta": 5e5, "rope_scaling": LLAMA3 | {"rope_type": "llama3"}},
            Rope(theta=5e5, llama3=Llama3Scaling(8.0, 1.0, 4.0, 8192)),
        ),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, Rope(theta=5e5)),
        (
            {"rope_parameters": LLAMA3 | {"rope_type": "llama3", "rope_theta": 5e5}},
            Rope(theta=5e5, llama3=Llama3Scaling(8.0, 1.0, 4.0, 8192)),
        ),
    ],
)
def test_rotary_settings_of_both_generations(more: dict[str, Any], rope: Rope) -> None:
    assert ropes(spec_from_config(LLAMA | more)) == {rope}


def test_llama_has_no_biases_and_its_own_head() -> None:
    spec = spec_from_config(LLAMA)
    assert (spec.family, spec.qkv_bias, spec.tied_head, spec.qk_norm) == (
        "llama",
        False,
        False,
        False,
    )
    assert (spec.attn_scale, spec.embed_scale, spec.norm_eps) == (0.25, 1.0, 1e-5)
    assert spec_from_config(LLAMA | {"tie_word_embeddings": True}).tied_head
    assert spec_from_config(LLAMA | {"head_dim": 32}).attn_scale == 32**-0.5


def test_qwen2_has_biases_and_windows_only_when_told_so() -> None:
    assert spec_from_config(QWEN2).qkv_bias
    off = QWEN2 | {"sliding_window": 8, "max_window_layers": 1}
    assert windows(spec_from_config(off)) == [None, None, None]
    on = off | {"use_sliding_window": True}
    assert windows(spec_from_config(on)) == [None, 8, 8]
    listed = on | {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}
    assert windows(spec_from_config(listed)) == [8, None, None]


def test_gemma3_of_transformers_4() -> None:
    config = GEMMA3 | {
        "sliding_window": 8,
        "sliding_window_pattern": 6,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "query_pre_attn_scalar": 24,
    }
    spec = spec_from_config(config)
    assert windows(spec) == [8, 8, 8, 8, 8, None, 8]
    assert spec.layers[5].rope == Rope(theta=1e6, linear=8.0)
    assert spec.layers[6].rope == Rope(theta=1e4)
    assert spec.attn_scale == 24**-0.5
    assert (spec.embed_scale, spec.tied_head, spec.activation) == (8.0, True, "gelu_tanh")


def test_gemma3_of_transformers_5_says_the_same() -> None:
    new = json.loads((PARITY / "gemma3" / "config.json").read_text())
    old = {
        key: value for key, value in new.items() if key not in ("rope_parameters", "layer_types")
    }
    old |= {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "sliding_window_pattern": 6}
    old["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
    assert spec_from_config(new) == spec_from_config(old)


def test_the_multimodal_gemma_is_read_by_its_text_part_with_what_it_leaves_out() -> None:
    """As published for 4B: what equals the defaults is not written."""
    spec = spec_from_config(
        {
            "architectures": ["Gemma3ForConditionalGeneration"],
            "text_config": {
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
            "vision_config": {
                "hidden_size": 1152,
                "image_size": 896,
                "num_attention_heads": 16,
                "patch_size": 14,
            },
        }
    )
    layer = spec.layers[0]
    assert (layer.heads, layer.kv_heads, layer.head_dim, layer.window) == (8, 4, 256, 1024)
    assert (spec.vocab_size, spec.context, spec.attn_scale) == (262208, 131072, 256**-0.5)
    assert spec.layers[5].rope == Rope(theta=1e6, linear=8.0)
    assert spec.tied_head


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM.*LlamaForCausalLM, Qwen2"),
        ({}, "none given"),
        (LLAMA | {"attention_bias": True}, "attention biases in a llama model"),
        (LLAMA | {"mlp_bias": True}, "biases in the MLP"),
        (LLAMA | {"hidden_act": "relu"}, "activation 'relu'"),
        (LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "scaling 'yarn'"),
        (LLAMA | {"rope_parameters": {"partial_rotary_factor": 0.5}}, "part of each head"),
        (LLAMA | {"quantization_config": {"quant_method": "awq"}}, "quantised"),
        (GEMMA3 | {"final_logit_softcapping": 30.0}, "final_logit_softcapping"),
        (GEMMA3 | {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        (GEMMA3 | {"use_bidirectional_attention": True}, "bidirectional"),
        (GEMMA3 | {"layer_types": ["chunked_attention"] * 7}, "'chunked_attention'"),
    ],
)
def test_what_the_decoder_does_not_have_is_unsupported(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedModel, match=message) as caught:
        spec_from_config(config)
    assert is_one_line(caught.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"hidden_size": "64"}, "hidden_size must be a whole number, not '64'"),
        ({"hidden_size": 64.5}, "hidden_size must be a whole number"),
        ({"num_hidden_layers": 10**400}, r"num_hidden_layers is 1000.*outside \[1, 1024\]"),
        ({"num_key_value_heads": 3}, "do not divide"),
        ({"head_dim": 15}, "odd width 15"),
        ({"rms_norm_eps": float("inf")}, "rms_norm_eps is inf"),
        ({"tie_word_embeddings": "yes"}, "must be true or false"),
        ({"layer_types": ["full_attention"]}, "layer_types must be a list of 3"),
        ({"rope_scaling": [1]}, "rope_scaling must be an object"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor is missing"),
        ({"rope_scaling": LLAMA3 | {"type": "llama3", "low_freq_factor": 4.0}}, "not above"),
        ({"hidden_act": 3}, "hidden_act must be a text"),
    ],
)
def test_senseless_values_are_damage(more: dict[str, Any], message: str) -> None:
    with pytest.raises(DamagedCheckpoint, match=message) as caught:
        spec_from_config(LLAMA | more)
    assert is_one_line(caught.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *LLAMA,
        "head_dim",
        "hidden_act",
        "hidden_activation",
        "layer_types",
        "max_window_layers",
        "query_pre_attn_scalar",
        "rope_local_base_freq",
        "rope_parameters",
        "rope_scaling",
        "rope_theta",
        "sliding_window",
        "sliding_window_pattern",
        "text_config",
        "tie_word_embeddings",
        "use_sliding_window",
    ]
)


@given(base=st.sampled_from([LLAMA, QWEN2, GEMMA3]), more=st.dictionaries(KEYS, JUNK, max_size=4))
def test_any_config_is_read_or_refused_in_one_line(
    base: dict[str, Any], more: dict[str, Any]
) -> None:
    try:
        spec = spec_from_config(base | more)
    except (DamagedCheckpoint, UnsupportedModel) as error:
        refused = is_one_line(error)
    else:
        refused = len(spec.layers) >= 1 and hash(spec) is not None
    assert refused
