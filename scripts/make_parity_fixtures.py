"""Makes tests/fixtures/parity: tiny models of every architecture with the logits that
transformers computes for them. Run it with the `parity` extra installed:

    python scripts/make_parity_fixtures.py [name ...]

Every parameter and kept buffer is random, norms and biases included: the usual initialisation
(ones and zeros) would hide a forgotten one.
"""

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gguf import GGUFWriter, TokenType
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipVisionConfig,
)

TARGET = Path(__file__).resolve().parent.parent / "tests" / "fixtures" / "parity"
VOCAB = 300
CONTEXT = 256
CONTROL = ("<|bos|>", "<|eos|>", "<|pad|>")
PROMPT_LENGTHS = (1, 6, 21, 70)
CONTINUATION = 24
IMAGE_SIZE, SOFT_TOKENS, PLACEHOLDER = 24, 16, VOCAB - 1
# Runs of so many text tokens, and images by number, in the order in which they stand.
INTERLEAVED = (
    ((5,), 0, (3,)),
    ((21,), 0, (2,), 1, (9,)),
    (1, (4,), 0, (4,), 1, (2,), 2, (13,)),
    ((40,), 2, (1,), 2, (6,)),
)
COMMON = {
    "vocab_size": VOCAB,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "attn_implementation": "eager",
    "dtype": "float32",
}


def llama() -> PreTrainedModel:
    """Untied head, heads wider than hidden_size / heads."""
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            rms_norm_eps=1e-5,
            tie_word_embeddings=False,
            **COMMON,
        )
    )


def llama_scaled() -> PreTrainedModel:
    """Tied head, Llama 3 rotary scaling whose three regimes all lie within the context."""
    return LlamaForCausalLM(
        LlamaConfig(
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=3,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            rope_parameters={
                "rope_type": "llama3",
                "rope_theta": 1000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
            **COMMON,
        )
    )


def qwen2() -> PreTrainedModel:
    """Biases on q, k and v; three queries to a key."""
    return Qwen2ForCausalLM(
        Qwen2Config(
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
            **COMMON,
        )
    )


def gemma3() -> PreTrainedModel:
    """Seven layers, so that the sixth is global; a window of 8; a scale that is not head_dim's;
    linear scaling on the global layer as in 4B and up; one key to four queries."""
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            hidden_size=40,
            intermediate_size=64,
            num_hidden_layers=7,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=16,
            query_pre_attn_scalar=24,
            sliding_window=8,
            rope_parameters={
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
            },
            **COMMON,
        )
    )


def gemma4(**more: object) -> PreTrainedModel:
    """The shape of 12B and 31B: keys that are values, heads of another width and another number of
    them on the global layers (the sixth, and the last because it is), logits that are capped."""
    shape = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 7,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "global_head_dim": 16,
        "num_global_key_value_heads": 1,
        "sliding_window": 8,
        "attention_k_eq_v": True,
        "final_logit_softcapping": 30.0,
        "hidden_size_per_layer_input": 0,
        "layer_types": ["sliding_attention"] * 5 + ["full_attention"] * 2,
    }
    return Gemma4ForCausalLM(Gemma4TextConfig(**COMMON | shape | more))


def gemma4_inputs() -> PreTrainedModel:
    """The shape of E2B: inputs of its own to each layer; the last four of seven layers read the
    keys and values of the third (global) and the second (local), and have wider MLPs."""
    return gemma4(
        layer_types=["sliding_attention"] * 2
        + ["full_attention"]
        + ["sliding_attention"] * 3
        + ["full_attention"],
        num_key_value_heads=1,
        attention_k_eq_v=False,
        num_kv_shared_layers=4,
        use_double_wide_mlp=True,
        hidden_size_per_layer_input=16,
        vocab_size_per_layer_input=VOCAB,
    )


def gemma4_experts() -> PreTrainedModel:
    """The shape of 26B-A4B: six experts of which a token takes two, beside the dense MLP."""
    return gemma4(
        num_hidden_layers=4,
        layer_types=["sliding_attention"] * 3 + ["full_attention"],
        enable_moe_block=True,
        num_experts=6,
        top_k_experts=2,
        moe_intermediate_size=12,
    )


def gemma3_vision() -> PreTrainedModel:
    """64 patches pooled to 16 soft tokens an image, and a window of 12: not all of an image."""
    text = Gemma3TextConfig(
        hidden_size=40,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=24,
        sliding_window=12,
        layer_types=["sliding_attention", "full_attention"] * 2,
        **COMMON,
    )
    vision = SiglipVisionConfig(
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        image_size=IMAGE_SIZE,
        patch_size=3,
        vision_use_head=False,
    )
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=SOFT_TOKENS,
        image_token_index=PLACEHOLDER,
        boi_token_index=PLACEHOLDER - 1,
        eoi_token_index=PLACEHOLDER - 2,
        attn_implementation="eager",
        dtype="float32",
    )
    return Gemma3ForConditionalGeneration(config)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": llama,
    "llama-scaled": llama_scaled,
    "qwen2": qwen2,
    "gemma3": gemma3,
    "gemma4": gemma4,
    "gemma4-inputs": gemma4_inputs,
    "gemma4-experts": gemma4_experts,
    "gemma3-vision": gemma3_vision,
}


def randomise(model: PreTrainedModel, generator: torch.Generator) -> None:
    gemma = model.config.model_type.startswith("gemma3")  # keeps w of a scale of 1 + w
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name or name.endswith("scale"):
            # But for the LayerNorms of the image encoder, which have biases too.
            is_zero = (gemma and "vision_tower" not in name) or name.endswith("bias")
            parameter.data = 0.3 * noise + (0.0 if is_zero else 1.0)
        elif "projection_weight" in name or "position_embedding" in name:
            parameter.data = noise / math.sqrt(parameter.shape[0])
        elif parameter.ndim == 4:
            parameter.data = 1.5 * noise / math.sqrt(parameter[0].numel())
        elif parameter.ndim == 1:
            parameter.data = 0.5 * noise
        elif "embed_tokens" in name or "lm_head" in name:
            parameter.data = 0.3 * noise
        else:
            parameter.data = 1.5 * noise / math.sqrt(parameter.shape[-1])
    kept = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if name in kept:
            buffer.copy_(0.6 + 0.6 * torch.rand(buffer.shape, generator=generator))


def expectations(model: PreTrainedModel, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Greedy continuations without a cache, so that nothing but the forward pass is trusted."""
    arrays: dict[str, np.ndarray] = {}
    for index, length in enumerate(PROMPT_LENGTHS):
        prompt = random.integers(len(CONTROL), VOCAB, length)
        ids = torch.from_numpy(prompt)[None]
        for _ in range(CONTINUATION):
            logits = model(ids, use_cache=False).logits
            ids = torch.cat([ids, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        logits = model(ids, use_cache=False).logits[0]
        top = logits[length - 1 :].topk(2).values
        print(f"  prompt {index}: smallest margin {(top[:, 0] - top[:, 1]).min():.4f}")
        arrays[f"prompt_{index}"] = prompt.astype(np.int32)
        arrays[f"continuation_{index}"] = ids[0, length:].numpy().astype(np.int32)
        arrays[f"logits_{index}"] = logits.numpy()
    return arrays


def interleaved_expectations(
    model: PreTrainedModel, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """The same for prompts of text and images, and what the encoder makes of the images."""
    images = random.integers(0, 256, (3, IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
    pixels = torch.from_numpy(((images / 255 - 0.5) / 0.5).astype(np.float32))
    pixels = pixels.permute(0, 3, 1, 2)
    features = model.get_image_features(pixels).pooler_output
    arrays = {"images": images, "features": features.numpy()}
    for index, parts in enumerate(INTERLEAVED):
        ids: list[int] = []
        for part in parts:
            if isinstance(part, int):
                ids += [PLACEHOLDER] * SOFT_TOKENS
            else:
                ids += random.integers(len(CONTROL), PLACEHOLDER - 2, part[0]).tolist()
        seen = [part for part in parts if isinstance(part, int)]
        length = len(ids)

        def logits(ids: list[int], seen: list[int] = seen) -> torch.Tensor:
            given = torch.tensor([ids])
            kinds = (given == PLACEHOLDER).long()
            out = model(
                input_ids=given, pixel_values=pixels[seen], token_type_ids=kinds, use_cache=False
            )
            return out.logits[0]

        for _ in range(CONTINUATION):
            # A placeholder would ask for an image.
            ids.append(int(logits(ids)[-1, :PLACEHOLDER].argmax()))
        arrays[f"prompt_{index}"] = np.array(ids[:length], np.int32)
        arrays[f"images_{index}"] = np.array(seen, np.int32)
        arrays[f"continuation_{index}"] = np.array(ids[length:], np.int32)
        arrays[f"logits_{index}"] = logits(ids).numpy()
    return arrays


def byte_level_tokenizer() -> Tokenizer:
    """300 pieces: three control tokens, all bytes, and what merges the sample text yields."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=list(CONTROL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    text = (
        "The train leaves at three and arrives at seven, then the others rest. "
        "What is the answer to the question that everyone asked here before them?"
    )
    tokenizer.train_from_iterator([text] * 4, trainer)
    assert tokenizer.get_vocab_size() == VOCAB
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": CONTROL[0],
        "eos_token": CONTROL[1],
        "pad_token": CONTROL[2],
        "add_bos_token": False,
        "model_max_length": CONTEXT,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")


def save_llama_gguf(model: PreTrainedModel, tokenizer: Tokenizer, path: Path) -> None:
    """The same weights as llama.cpp's converter lays them out: q and k rows interleaved."""
    config = model.config
    writer = GGUFWriter(path, "llama")
    writer.add_file_type(0)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(VOCAB)
    add_gguf_vocabulary(writer, tokenizer)
    for name, weight in model.state_dict().items():
        writer.add_tensor(gguf_name(name), interleaved(name, weight.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_gguf_vocabulary(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    description = json.loads(tokenizer.to_str())["model"]
    pieces = sorted(description["vocab"], key=description["vocab"].__getitem__)
    kinds = [TokenType.CONTROL if piece in CONTROL else TokenType.NORMAL for piece in pieces]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(pieces)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in description["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_pad_token_id(2)
    writer.add_add_bos_token(False)


def gguf_name(name: str) -> str:
    tops = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in tops:
        return tops[name]
    parts = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "q_proj": "attn_q",
        "k_proj": "attn_k",
        "v_proj": "attn_v",
        "o_proj": "attn_output",
        "gate_proj": "ffn_gate",
        "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }
    words = name.split(".")
    return f"blk.{words[2]}.{parts[words[-2]]}.weight"


def interleaved(name: str, weight: np.ndarray, config: LlamaConfig) -> np.ndarray:
    heads = {
        "q_proj": config.num_attention_heads,
        "k_proj": config.num_key_value_heads,
    }.get(name.split(".")[-2])
    if heads is None:
        return weight
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(weight.shape))


@torch.no_grad()
def main() -> None:
    tokenizer = byte_level_tokenizer()
    wanted = sys.argv[1:] or list(MODELS)
    for number, (name, build) in enumerate(MODELS.items()):
        if name not in wanted:
            continue
        print(name)
        folder = TARGET / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        model = build().eval()
        randomise(model, torch.Generator().manual_seed(number))
        model.save_pretrained(folder)
        save_tokenizer(tokenizer, folder)
        expect = interleaved_expectations if name == "gemma3-vision" else expectations
        arrays = expect(model, np.random.default_rng(number))
        np.savez_compressed(folder / "expected.npz", **arrays)
        if name == "llama":
            save_llama_gguf(model, tokenizer, TARGET / "llama.gguf")


if __name__ == "__main__":
    main()
