"""What a calibration is true of: change any of it and the numbers say nothing any more."""

import hashlib
from typing import Any

import msgspec


class Setup(msgspec.Struct, frozen=True, kw_only=True):
    """One exact configuration of model, question form, sampling and extractor.

    model: its name, for people. weights: fingerprint of the checkpoint. quantization, dtype: as
    the worker holds them. template: digest of everything that turns a question into tokens (chat
    template, tokenizer, instructions, worked questions). answer: the extractor's options.
    path_tokens, direct_tokens: longest path and direct answer. system: the system message that
    stood before every question, "" without one. constrain: final lines were held to a grammar.
    """

    model: str
    weights: str
    quantization: str
    dtype: str
    template: str
    answer: dict[str, Any]
    temperature: float
    top_p: float
    path_tokens: int
    direct_tokens: int
    system: str = ""
    constrain: bool = False

    @property
    def digest(self) -> str:
        """sha256, in hex, of all but the name."""
        fields = {**msgspec.to_builtins(self), "model": ""}
        return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()

    def differences(self, other: "Setup") -> list[str]:
        """What is not the same, one line per field: "temperature: 0.7 here, 1.0 there"."""
        mine, theirs = msgspec.to_builtins(self), msgspec.to_builtins(other)
        return [
            f"{field}: {_short(mine[field])} here, {_short(theirs[field])} there"
            for field in mine
            if field != "model" and mine[field] != theirs[field]
        ]


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text
