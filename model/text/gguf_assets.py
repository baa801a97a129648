"""Text assets out of the metadata of a GGUF file.

Keys and token types: "Standardized key-value pairs, tokenizer" in ggml's gguf.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.spec import UnsupportedModel
from model.text.assets import TextAssets
from model.text.pretokenizers import pretokenizer
from model.text.sentencepiece_proto import Piece, PieceType, write_model
from model.text.special import CONTROL_NAMES, end_ids
from model.text.tokenizer import DamagedTokenizer

_KEY = "tokenizer.ggml."
_SPACE = "\u2581"


def assets_from_gguf(fields: Mapping[str, Any]) -> TextAssets:
    """fields: the file's metadata, key to plain Python value.

    Raises UnsupportedModel for a kind of tokenizer that Pollux does not have, DamagedTokenizer for
    metadata that contradict themselves.
    """
    kind = fields.get(f"{_KEY}model")
    if kind == "gpt2":
        return _byte_level(_read(fields))
    if kind == "llama":
        return _sentencepiece(_read(fields))
    if kind is None:
        raise UnsupportedModel("the file has no tokenizer (tokenizer.ggml.model)")
    raise UnsupportedModel(f"unsupported tokenizer {kind!r}; supported are gpt2 and llama")


@dataclass(frozen=True)
class _Vocabulary:
    fields: Mapping[str, Any]
    tokens: list[str]
    types: list[PieceType]

    def id(self, name: str) -> int | None:
        """A token id by its key, None when the file has none."""
        value = self.fields.get(f"{_KEY}{name}_token_id")
        if value is None:
            return None
        if not isinstance(value, int) or not 0 <= value < len(self.tokens):
            raise DamagedTokenizer(f"{_KEY}{name}_token_id is not a token of the vocabulary")
        return value

    def flag(self, name: str, default: bool) -> bool:
        return bool(self.fields.get(f"{_KEY}{name}", default))

    @property
    def chat_template(self) -> str | None:
        template = self.fields.get("tokenizer.chat_template")
        if template is not None and not isinstance(template, str):
            raise DamagedTokenizer("tokenizer.chat_template is not text")
        return template or None

    def assets(
        self, kind: str, payload: bytes, control: dict[str, int], *, adds_bos: bool
    ) -> TextAssets:
        bos = self.id("bos")
        return TextAssets(
            kind="bpe" if kind == "bpe" else "sentencepiece",
            payload=payload,
            vocab_size=len(self.tokens),
            control=control,
            eos=end_ids(control, (self.id("eos"), self.id("eot"), self.id("eom"))),
            bos=bos,
            pad=self.id("padding"),
            add_bos=bos is not None and self.flag("add_bos_token", adds_bos),
            chat_template=self.chat_template,
        )


def _read(fields: Mapping[str, Any]) -> _Vocabulary:
    tokens = _column(fields, "tokens")
    if not tokens or not all(isinstance(token, str) for token in tokens):
        raise DamagedTokenizer("tokenizer.ggml.tokens is not a list of texts")
    raw = _column(fields, "token_type") or [PieceType.NORMAL] * len(tokens)
    if len(raw) != len(tokens):
        raise DamagedTokenizer("tokenizer.ggml.token_type does not match the vocabulary's size")
    known = {int(kind): kind for kind in PieceType}
    try:
        types = [known[kind] for kind in raw]
    except (KeyError, TypeError):
        raise DamagedTokenizer("tokenizer.ggml.token_type has an unknown type") from None
    vocabulary = _Vocabulary(fields, tokens, types)
    named = {vocabulary.id(name) for name in ("bos", "eos", "eot", "eom", "padding")}
    for token, piece in enumerate(tokens):
        # An id alone is not enough: files name ordinary words as padding.
        special = token in named and (types[token] is not PieceType.NORMAL or _bracketed(piece))
        if (special or piece in CONTROL_NAMES) and types[token] is not PieceType.UNKNOWN:
            types[token] = PieceType.CONTROL
    return vocabulary


def _bracketed(piece: str) -> bool:
    return piece[:1] in ("<", "[") and piece[-1:] in (">", "]")


def _column(fields: Mapping[str, Any], name: str) -> list[Any]:
    values = fields.get(f"{_KEY}{name}")
    if values is None:
        return []
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise DamagedTokenizer(f"{_KEY}{name} is not a list")
    return list(values)


def _byte_level(vocabulary: _Vocabulary) -> TextAssets:
    rules = pretokenizer(vocabulary.fields.get(f"{_KEY}pre"))
    pieces: dict[str, int] = {}
    control: dict[str, int] = {}
    added: list[dict[str, Any]] = []
    for token, (piece, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if kind in (PieceType.CONTROL, PieceType.UNKNOWN):
            control.setdefault(piece, token)
        elif kind is not PieceType.UNUSED:
            pieces.setdefault(piece, token)
        if kind is PieceType.USER_DEFINED:
            added.append(_added(piece, token))
    merges = _merges(vocabulary, pieces)
    description = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if rules.nfc else None,
        "pre_tokenizer": rules.as_json(),
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": False,
        },
        "model": {
            "type": "BPE",
            "ignore_merges": rules.whole_words,
            "vocab": pieces,
            "merges": merges,
        },
    }
    payload = json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode()
    return vocabulary.assets("bpe", payload, control, adds_bos=rules.adds_bos)


def _merges(vocabulary: _Vocabulary, pieces: Mapping[str, int]) -> list[list[str]]:
    merges = []
    for merge in _column(vocabulary.fields, "merges"):
        pair = merge.split(" ") if isinstance(merge, str) else ()
        if len(pair) != 2:
            raise DamagedTokenizer(f"{_KEY}merges has a line that is not a pair")
        # A merge into a control token would let text spell it.
        if pair[0] in pieces and pair[1] in pieces and pair[0] + pair[1] in pieces:
            merges.append(pair)
    if not merges:
        raise DamagedTokenizer(f"{_KEY}merges fits nothing in the vocabulary")
    return merges


def _added(piece: str, token: int) -> dict[str, Any]:
    return {
        "id": token,
        "content": piece,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": False,
    }


def _sentencepiece(vocabulary: _Vocabulary) -> TextAssets:
    scores = _column(vocabulary.fields, "scores")
    if len(scores) != len(vocabulary.tokens):
        raise DamagedTokenizer("tokenizer.ggml.scores does not match the vocabulary's size")
    unknown = vocabulary.id("unknown")
    if unknown is None:
        unknown = _unknown(vocabulary)
    pieces = []
    control: dict[str, int] = {}
    for token, (text, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types, strict=True)):
        if token == unknown:
            kind = PieceType.UNKNOWN
        elif kind is PieceType.UNKNOWN:
            kind = PieceType.UNUSED  # the library allows one
        if kind is PieceType.CONTROL:
            control[text] = token
        if kind is PieceType.USER_DEFINED:
            text = text.replace(" ", _SPACE)  # GGUF stores these as they look
        pieces.append(Piece(text, scores[token], kind))
    if sum(piece.type is PieceType.BYTE for piece in pieces) == 256:
        control[vocabulary.tokens[unknown]] = unknown  # never needed for text then
    charsmap = vocabulary.fields.get(f"{_KEY}precompiled_charsmap", b"")
    payload = write_model(
        pieces,
        unknown=unknown,
        dummy_prefix=vocabulary.flag("add_space_prefix", True),
        trim_spaces=vocabulary.flag("remove_extra_whitespaces", False),
        charsmap=bytes(charsmap),
    )
    return vocabulary.assets("sentencepiece", payload, control, adds_bos=True)


def _unknown(vocabulary: _Vocabulary) -> int:
    for token, kind in enumerate(vocabulary.types):
        if kind is PieceType.UNKNOWN:
            return token
    if "<unk>" in vocabulary.tokens:
        return vocabulary.tokens.index("<unk>")
    raise DamagedTokenizer("the SentencePiece vocabulary has no unknown token")
