"""tokenizer.json of the `tokenizers` library: its control tokens apart, the rest for plain text."""

import json
from dataclasses import dataclass
from typing import Any, Literal

from model.spec import UnsupportedModel
from model.text.special import Special
from model.text.tokenizer import DamagedTokenizer


@dataclass(frozen=True)
class TokenizerFile:
    """What one tokenizer file says. bos, adds_bos: what it puts before a text by itself."""

    kind: Literal["bpe", "sentencepiece"]
    payload: bytes
    vocab_size: int
    control: dict[str, int]
    bos: int | None = None
    adds_bos: bool = False


def read_tokenizer_json(data: bytes, special: Special) -> TokenizerFile:
    """special: what is a control token whatever the file says of it.

    Raises UnsupportedModel when it is not BPE, DamagedTokenizer when it is not a tokenizer.json.
    """
    try:
        return _read(json.loads(data), special)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, UnsupportedModel | DamagedTokenizer):
            raise
        raise DamagedTokenizer(f"tokenizer.json is not one: {error!r}") from None


def _read(description: dict[str, Any], special: Special) -> TokenizerFile:
    model = description["model"]
    if model.get("type", "BPE") != "BPE":
        raise UnsupportedModel(f"unsupported tokenizer {model['type']!r}; supported is BPE")
    vocab: dict[str, int] = model["vocab"]
    control: dict[str, int] = {}
    added: list[dict[str, Any]] = []
    for token in description.get("added_tokens") or ():
        piece = token["content"]
        token_id = vocab.get(piece, token["id"])
        if token["special"] or special.has(piece, token_id):
            control[piece] = token_id
        else:
            added.append(token)
            # The library numbers added tokens anew unless the vocabulary has them.
            vocab[piece] = token_id
    vocab_size = max([*vocab.values(), *control.values()]) + 1
    unknown = model.get("unk_token")
    if unknown in control and not _has_all_bytes(vocab):
        del control[unknown]  # text needs it
    for piece in control:
        vocab.pop(piece, None)
    if unknown in control:
        model["unk_token"] = None
    model["merges"] = [merge for merge in model["merges"] if _merged(merge) not in control]
    bos = _first_token(description.get("post_processor"), control)
    description |= {"added_tokens": added, "post_processor": None, "padding": None}
    description["truncation"] = None
    payload = json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode()
    return TokenizerFile("bpe", payload, vocab_size, control, bos, bos is not None)


def _merged(merge: str | list[str]) -> str:
    """Merges are written as "a b" in older files, as ["a", "b"] in newer ones."""
    return "".join(merge.split(" ") if isinstance(merge, str) else merge)


def _has_all_bytes(vocab: dict[str, int]) -> bool:
    """Whether any text has tokens: byte pieces, or the byte alphabet (whose space is U+0120)."""
    return "\u0120" in vocab or all(f"<0x{byte:02X}>" in vocab for byte in range(256))


def _first_token(processor: dict[str, Any] | None, control: dict[str, int]) -> int | None:
    """The control token that the file's post-processor puts before a text."""
    if processor is None:
        return None
    if processor["type"] == "Sequence":
        found = (_first_token(step, control) for step in processor["processors"])
        return next((token for token in found if token is not None), None)
    if processor["type"] != "TemplateProcessing" or not processor["single"]:
        return None
    first = processor["single"][0].get("SpecialToken")
    return control.get(first["id"]) if first else None
