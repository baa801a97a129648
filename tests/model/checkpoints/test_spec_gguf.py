"""What the metadata of a GGUF file mean for the decoder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType

from model.checkpoints import UnsupportedModel, open_checkpoint
from model.checkpoints.gguf_header import TensorInfo
from model.checkpoints.llama3_factors import llama3_factors
from model.checkpoints.spec_gguf import spec_from_gguf
from model.spec import LayerSpec, Llama3Scaling, ModelSpec, Rope
from tests.model.checkpoints.tiny import HEAD_DIM, TinyGguf, tiny_gguf

EMBED = {"token_embd.weight": TensorInfo("", GGMLQuantizationType.F32, (1000, 64), 0, 0)}


def gemma_fields(size: str, **more: Any) -> dict[str, Any]:
    """As the converter writes them for the published sizes."""
    layers, width, d_ff, heads, kv_heads, head_dim, window = {
        "270m": (18, 640, 2048, 4, 1, 256, 512),
        "4b": (34, 2560, 10240, 8, 4, 256, 1024),
        "27b": (62, 5376, 21504, 32, 16, 128, 1024),
    }[size]
    values = {
        "block_count": layers,
        "context_length": 32768,
        "embedding_length": width,
        "feed_forward_length": d_ff,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "attention.key_length": head_dim,
        "attention.value_length": head_dim,
        "attention.layer_norm_rms_epsilon": float(np.float32(1e-6)),
        "attention.sliding_window": window,
        "rope.freq_base": 1e6,
    } | {key.replace("__", "."): value for key, value in more.items()}
    return {"general.architecture": "gemma3"} | {f"gemma3.{k}": v for k, v in values.items()}


def spec_of(fields: Mapping[str, Any]) -> ModelSpec:
    return spec_from_gguf(fields, EMBED)


def test_gemma_270m_has_five_local_layers_to_a_global_one() -> None:
    spec = spec_of(gemma_fields("270m"))

    everywhere = LayerSpec(heads=4, kv_heads=1, head_dim=256, d_ff=2048, rope=Rope(theta=1e6))
    local = replace(everywhere, rope=Rope(theta=1e4), window=512)
    assert spec.layers == (*(local,) * 5, everywhere) * 3
    assert spec.attn_scale == 256**-0.5
    assert spec.embed_scale == 640**0.5
    assert spec.norm_eps == 1e-6
    assert spec.activation == "gelu_tanh"
    assert (spec.qk_norm, spec.post_norms, spec.tied_head, spec.qkv_bias) == (
        True,
        True,
        True,
        False,
    )


def test_large_gemmas_scale_their_global_layers_by_eight() -> None:
    spec = spec_of(gemma_fields("4b"))
    assert spec.layers[5].rope == Rope(theta=1e6, linear=8.0)
    assert spec.layers[0].rope == Rope(theta=1e4)


def test_what_the_file_says_of_scaling_wins() -> None:
    said = gemma_fields("4b", rope__scaling__type="linear", rope__scaling__factor=4.0)
    assert spec_of(said).layers[5].rope.linear == 4.0
    assert spec_of(gemma_fields("4b", rope__scaling__type="none")).layers[5].rope.linear == 1.0


def test_the_27b_scales_by_its_width_per_head() -> None:
    assert spec_of(gemma_fields("27b")).attn_scale == 168**-0.5


def test_a_window_pattern_in_the_file_wins() -> None:
    every_third = spec_of(gemma_fields("270m", attention__sliding_window_pattern=3))
    assert [layer.window for layer in every_third.layers] == [512, 512, None] * 6
    listed = [True] * 17 + [False]
    as_list = spec_of(gemma_fields("270m", attention__sliding_window_pattern=listed))
    assert [layer.window for layer in as_list.layers] == [512] * 17 + [None]


def test_llama_without_a_head_width_divides_its_own(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama")
    del tiny.fields["llama.attention.key_length"], tiny.fields["llama.attention.value_length"]
    spec = open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).spec
    layer = LayerSpec(heads=4, kv_heads=2, head_dim=16, d_ff=96, rope=Rope(theta=1e4))
    assert spec == ModelSpec(
        family="llama",
        d_model=64,
        vocab_size=300,
        context=128,
        layers=(layer, layer),
        attn_scale=0.25,
        norm_eps=1e-6,
    )


def test_without_a_count_of_key_heads_there_are_as_many_as_queries(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama", layers=1)
    del tiny.fields["llama.attention.head_count_kv"]
    for part in ("k", "v"):
        tiny.tensors[f"blk.0.attn_{part}.weight"] = tiny.tensors["blk.0.attn_q.weight"]
    assert open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).spec.layers[0].kv_heads == 4


def test_layers_may_differ(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama")
    tiny.fields["llama.attention.head_count_kv"] = [2, 4]
    tiny.fields["llama.feed_forward_length"] = [96, 32]
    tiny.tensors |= {
        "blk.1.attn_k.weight": np.zeros((64, 64), np.float32),
        "blk.1.attn_v.weight": np.zeros((64, 64), np.float32),
        "blk.1.ffn_gate.weight": np.zeros((32, 64), np.float32),
        "blk.1.ffn_up.weight": np.zeros((32, 64), np.float32),
        "blk.1.ffn_down.weight": np.zeros((64, 32), np.float32),
    }
    spec = open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).spec
    assert [layer.kv_heads for layer in spec.layers] == [2, 4]
    assert [layer.d_ff for layer in spec.layers] == [96, 32]


def test_linear_scaling_is_kept(tmp_path: Path) -> None:
    tiny = tiny_gguf("llama")
    tiny.fields |= {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 4.0}
    spec = open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).spec
    assert {layer.rope for layer in spec.layers} == {Rope(theta=1e4, linear=4.0)}


def with_factors(factors: np.ndarray) -> TinyGguf:
    tiny = tiny_gguf("llama")
    tiny.fields["llama.rope.freq_base"] = 500000.0
    tiny.tensors["rope_freqs.weight"] = factors.astype(np.float32)
    return tiny


@pytest.mark.parametrize("factor", [8.0, 32.0])
def test_llama3_scaling_is_recognised_by_its_factors(factor: float, tmp_path: Path) -> None:
    scaling = Llama3Scaling(factor, 1.0, 4.0, 8192)
    tiny = with_factors(llama3_factors(scaling, 500000.0, HEAD_DIM))
    spec = open_checkpoint(tiny.write(tmp_path / "tiny.gguf")).spec
    assert {layer.rope for layer in spec.layers} == {Rope(theta=500000.0, llama3=scaling)}


@pytest.mark.parametrize("factors", [np.full(8, 8.0), np.zeros(8), np.full(8, np.nan)])
def test_other_factors_are_unsupported(factors: np.ndarray, tmp_path: Path) -> None:
    path = with_factors(factors).write(tmp_path / "tiny.gguf")
    with pytest.raises(UnsupportedModel, match="no Llama 3 scaling"):
        open_checkpoint(path)


def test_llama3_factors_follow_the_published_formula() -> None:
    """Wavelengths up to 2048 stay, from 8192 on they are stretched, between they are blended."""
    head_dim, theta = 128, 500000.0
    wavelengths = 2 * np.pi * theta ** (np.arange(0, head_dim, 2) / head_dim)
    factors = llama3_factors(Llama3Scaling(8.0, 1.0, 4.0, 8192), theta, head_dim)

    assert np.all(factors[wavelengths < 2048] == 1.0)
    np.testing.assert_allclose(factors[wavelengths > 8192], 8.0)
    between = (wavelengths > 2048) & (wavelengths < 8192)
    smooth = (8192 / wavelengths[between] - 1.0) / 3.0
    np.testing.assert_allclose(1 / factors[between], (1 - smooth) / 8 + smooth)
    assert between.any()
