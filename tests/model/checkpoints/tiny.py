"""Tiny checkpoints of every architecture, for tests to spoil."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

PARITY = Path(__file__).parents[2] / "fixtures" / "parity"
VOCAB = 300
WIDTH, HEADS, KV_HEADS, HEAD_DIM, D_FF = 64, 4, 2, 16, 96


@dataclass
class Packed:
    """A tensor in its packed form. raw: uint8 [rows, bytes per row]."""

    raw: np.ndarray
    type: GGMLQuantizationType


@dataclass
class TinyGguf:
    """What the `gguf` library writes: metadata and tensors by their names in the file."""

    arch: str
    fields: dict[str, Any]
    tensors: dict[str, np.ndarray | Packed]

    def write(self, path: Path) -> Path:
        writer = GGUFWriter(path, self.arch)
        for key, value in self.fields.items():
            _adder(writer, value)(key, value)
        for name, tensor in self.tensors.items():
            if isinstance(tensor, Packed):
                writer.add_tensor(name, tensor.raw, raw_dtype=tensor.type)
            else:
                writer.add_tensor(name, tensor)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path


def _adder(writer: GGUFWriter, value: Any) -> Callable[[str, Any], None]:
    adders = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    return adders[type(value)]


def tiny_gguf(arch: str, *, layers: int = 2, width: int = WIDTH) -> TinyGguf:
    """llama, qwen2 or gemma3 with random F32 weights and a complete tokenizer."""
    random = np.random.default_rng(0)
    gemma = arch == "gemma3"
    fields: dict[str, Any] = {
        f"{arch}.block_count": layers,
        f"{arch}.context_length": 128,
        f"{arch}.embedding_length": width,
        f"{arch}.feed_forward_length": D_FF,
        f"{arch}.attention.head_count": HEADS,
        f"{arch}.attention.head_count_kv": KV_HEADS,
        f"{arch}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{arch}.rope.freq_base": 1e6 if gemma else 1e4,
        f"{arch}.attention.key_length": HEAD_DIM,
        f"{arch}.attention.value_length": HEAD_DIM,
        "general.file_type": 0,
    }
    if gemma:
        fields["gemma3.attention.sliding_window"] = 8
    fields |= sentencepiece_fields() if gemma else byte_level_fields()
    shapes = _shapes(arch, layers, width)
    tensors = {name: _random(random, shape) for name, shape in shapes.items()}
    return TinyGguf(arch, fields, dict(tensors))


def _random(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.standard_normal(shape, dtype=np.float32)


def _shapes(arch: str, layers: int, width: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (VOCAB, width),
        "output_norm.weight": (width,),
    }
    queries, keys = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM
    for index in range(layers):
        block = {
            "attn_norm.weight": (width,),
            "attn_q.weight": (queries, width),
            "attn_k.weight": (keys, width),
            "attn_v.weight": (keys, width),
            "attn_output.weight": (width, queries),
            "ffn_norm.weight": (width,),
            "ffn_gate.weight": (D_FF, width),
            "ffn_up.weight": (D_FF, width),
            "ffn_down.weight": (width, D_FF),
        }
        if arch == "qwen2":
            block |= {
                "attn_q.bias": (queries,),
                "attn_k.bias": (keys,),
                "attn_v.bias": (keys,),
            }
        if arch == "gemma3":
            block |= {
                "attn_q_norm.weight": (HEAD_DIM,),
                "attn_k_norm.weight": (HEAD_DIM,),
                "post_attention_norm.weight": (width,),
                "post_ffw_norm.weight": (width,),
            }
        shapes |= {f"blk.{index}.{part}": shape for part, shape in block.items()}
    return shapes


@cache
def _byte_level() -> dict[str, Any]:
    model = json.loads((PARITY / "llama" / "tokenizer.json").read_text())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (len(pieces) - 3),
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.padding_token_id": 2,
    }


def byte_level_fields() -> dict[str, Any]:
    return dict(_byte_level())


def sentencepiece_fields() -> dict[str, Any]:
    """Gemma's arrangement: four special pieces, 256 bytes, then what fills the vocabulary."""
    pieces = ["<pad>", "<eos>", "<bos>", "<unk>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    words = [chr(97 + index) for index in range(26)] + ["\u2581", "th", "he", "in", "er", "an"]
    pieces += words + [f"<unused{index}>" for index in range(VOCAB - len(pieces) - len(words))]
    kinds = {"<unk>": TokenType.UNKNOWN} | dict.fromkeys(pieces[:3], TokenType.CONTROL)
    kinds |= dict.fromkeys(pieces[4:260], TokenType.BYTE)
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": pieces,
        "tokenizer.ggml.scores": [-float(index) for index in range(len(pieces))],
        "tokenizer.ggml.token_type": [int(kinds.get(p, TokenType.NORMAL)) for p in pieces],
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_space_prefix": False,
    }


def is_one_line(error: BaseException) -> bool:
    return bool(str(error)) and "\n" not in str(error) and len(str(error)) < 500
