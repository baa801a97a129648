"""Tiny Gemma 4 models, saved by transformers as they are published, against it (`make parity`).

Every parameter and kept buffer is random. Multimodal models are saved whole; their text part must
say what they say of a text.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from tests.model.logits import Logits

pytestmark = [pytest.mark.parity, pytest.mark.timeout(600)]

VOCAB = 300
TEXT: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 7,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "global_head_dim": 16,
    "sliding_window": 8,
    "final_logit_softcapping": 30.0,
    "max_position_embeddings": 256,
    "layer_types": ["sliding_attention"] * 5 + ["full_attention"] * 2,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
KEYS_ARE_VALUES = TEXT | {"attention_k_eq_v": True, "num_global_key_value_heads": 1}
INPUTS = {"hidden_size_per_layer_input": 16, "vocab_size_per_layer_input": VOCAB}
SHARING = (
    TEXT
    | INPUTS
    | {
        "num_kv_shared_layers": 4,
        "use_double_wide_mlp": True,
        "layer_types": ["sliding_attention"] * 2
        + ["full_attention"]
        + ["sliding_attention"] * 3
        + ["full_attention"],
    }
)
IMAGES = {
    "boi_token_id": 290,
    "eoi_token_id": 291,
    "image_token_id": 292,
    "video_token_id": 293,
    "boa_token_id": 294,
    "eoa_token_index": 295,
    "audio_token_id": 296,
}


def unified() -> Any:
    import transformers as t

    config = t.Gemma4UnifiedConfig(
        text_config=t.Gemma4UnifiedTextConfig(**KEYS_ARE_VALUES).to_dict(),
        vision_config={"mm_embed_dim": 24, "mm_posemb_size": 16, "output_proj_dims": 24},
        audio_config={},
        **IMAGES,
    )
    return t.Gemma4UnifiedForConditionalGeneration(config)


def multimodal() -> Any:
    import transformers as t

    vision = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "position_embedding_size": 16,
    }
    config = t.Gemma4Config(
        text_config=t.Gemma4TextConfig(**SHARING).to_dict(), vision_config=vision, **IMAGES
    )
    return t.Gemma4ForConditionalGeneration(config)


def mixture() -> Any:
    import transformers as t

    experts = {"enable_moe_block": True, "num_experts": 6, "top_k_experts": 2}
    widths = {"moe_intermediate_size": 12, "hidden_size_per_layer_input": 0}
    return t.Gemma4ForCausalLM(t.Gemma4TextConfig(**KEYS_ARE_VALUES | experts | widths))


def randomise(model: Any) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    kept = model.state_dict().keys()
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        if name not in kept:
            continue
        noise = torch.randn(values.shape, generator=generator)
        if values.ndim <= 1:
            values.data = 0.9 + 0.2 * noise
        elif "embed" in name:
            values.data = 0.3 * noise
        else:
            values.data = 1.5 * noise / values.shape[-1] ** 0.5


@pytest.mark.parametrize("build", [unified, multimodal, mixture])
def test_a_saved_model_says_of_a_text_what_transformers_says(
    build: Callable[[], Any], tmp_path: Path, parity_fixtures: Path
) -> None:
    import torch

    torch.manual_seed(0)
    model = build().eval()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        randomise(model)
    model.save_pretrained(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(parity_fixtures / "gemma4" / file, tmp_path / file)
    tokens = np.random.default_rng(0).integers(3, 290, 90).tolist()
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0].numpy()
    found = Logits(open_checkpoint(tmp_path)).of(tokens, 96)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
