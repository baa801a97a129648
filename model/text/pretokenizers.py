"""How byte-level vocabularies cut text before merging, by the names that GGUF files use.

A GGUF file names its pre-tokenizer (`tokenizer.ggml.pre`); the expressions are those of the
models' own tokenizer.json, and the names llama.cpp's. Only names of architectures that Pollux
runs are here: a wrong expression would go unnoticed until answers get worse.
"""

from dataclasses import dataclass
from typing import Any

from model.spec import UnsupportedModel

Step = dict[str, Any]

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_PUNCTUATION = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"

_LLAMA3 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}{{1,3}}|{_PUNCTUATION}|{_SPACES}"
_QWEN2 = rf"{_CONTRACTIONS}|{_WORDS}|\p{{N}}|{_PUNCTUATION}|{_SPACES}"
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _SPACES
)


@dataclass(frozen=True)
class PreTokenizer:
    """steps: pre-tokenizers of the `tokenizers` library. whole_words: a word that is in the
    vocabulary is one token even where merges would not build it. nfc: text is composed first.
    adds_bos: prompts start with the beginning-of-sequence token unless the file says otherwise."""

    steps: tuple[Step, ...]
    whole_words: bool = False
    nfc: bool = False
    adds_bos: bool = False

    def as_json(self) -> Step:
        return {"type": "Sequence", "pretokenizers": list(self.steps)}


def _split(pattern: str) -> Step:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _bytes(use_regex: bool) -> Step:
    """Into the byte alphabet; use_regex: cut as GPT-2 does first."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


_DIGITS: Step = {"type": "Digits", "individual_digits": True}

_gpt2 = PreTokenizer((_bytes(use_regex=True),))
_starcoder = PreTokenizer((_DIGITS, _bytes(use_regex=True)))
_llama3 = PreTokenizer((_split(_LLAMA3), _bytes(use_regex=False)), whole_words=True, adds_bos=True)
_dbrx = PreTokenizer((_split(_LLAMA3), _bytes(use_regex=False)))
_qwen2 = PreTokenizer((_split(_QWEN2), _bytes(use_regex=False)), nfc=True)
_tekken = PreTokenizer((_split(_TEKKEN), _bytes(use_regex=False)), whole_words=True, adds_bos=True)
_deepseek_coder = PreTokenizer(
    (
        _split(r"[\r\n]"),
        _split(r"\s?\p{L}+"),
        _split(r"\s?\p{P}+"),
        _split("[一-龥\u0800-一가-\ud7ff]+"),
        _DIGITS,
        _bytes(use_regex=False),
    )
)

_BY_NAME = {
    "gpt-2": _gpt2,
    "olmo": _gpt2,
    "mpt": _gpt2,
    "phi-2": _gpt2,
    "smollm": _starcoder,
    "starcoder": _starcoder,
    "codeshell": _starcoder,
    "minerva-7b": _starcoder,
    "llama3": _llama3,
    "llama-v3": _llama3,
    "llama-bpe": _llama3,
    "falcon3": _llama3,
    "midm-2.0": _llama3,
    "dbrx": _dbrx,
    "smaug-bpe": _dbrx,
    "qwen2": _qwen2,
    "deepseek-r1-qwen": _qwen2,
    "tekken": _tekken,
    "deepseek-coder": _deepseek_coder,
}


def pretokenizer(name: str | None) -> PreTokenizer:
    """Raises UnsupportedModel for a name that is not known, and for none."""
    if name is None:
        raise UnsupportedModel("the file does not name its pre-tokenizer (tokenizer.ggml.pre)")
    if name not in _BY_NAME:
        known = ", ".join(sorted(_BY_NAME))
        raise UnsupportedModel(f"unknown pre-tokenizer {name!r}; known are {known}")
    return _BY_NAME[name]
