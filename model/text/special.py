"""Tokens that are special by name, where files forget to say so."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

END_NAMES = (
    "<|im_end|>",  # ChatML: Qwen, SmolLM
    "<end_of_turn>",  # Gemma
    "<turn|>",  # Gemma 4
    "<|eot_id|>",  # Llama 3
    "<|eom_id|>",  # Llama 3, before a tool's answer
    "<|eot|>",  # Llama 4
    "<|end|>",  # Phi 3
    "<|endoftext|>",  # GPT-2 and its heirs
    "<|end_of_text|>",  # Llama 3
    "<|EOT|>",  # DeepSeek Coder
    "<end_of_utterance>",  # SmolVLM
)
"""Control tokens that end an answer besides the declared end of sequence."""

SPOKEN_NAMES = (
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
    "<seed:think>",
    "</seed:think>",
    "[THINK]",
    "[/THINK]",
)
"""Control tokens that are part of what a model says: without them nobody sees where a call of a
function or the reasoning begins. Some vocabularies list them as control tokens, others as words."""

CONTROL_NAMES = frozenset(
    (
        *END_NAMES,
        "<|im_start|>",
        "<start_of_turn>",
        "<|turn>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|begin_of_text|>",
    )
)
"""Control tokens whatever type a file gives them: some list them as user-defined, which text
would match. Only names that mean nothing else: `<s>` is also HTML, and in vocabularies as such."""


@dataclass(frozen=True)
class Special:
    """Tokens that a model's configuration names: control tokens whatever its vocabulary says."""

    spellings: set[str] = field(default_factory=set)
    ids: set[int] = field(default_factory=set)

    def has(self, piece: str, token: int) -> bool:
        return token in self.ids or piece in self.spellings or piece in CONTROL_NAMES


def end_ids(control: Mapping[str, int], declared: Iterable[int | None]) -> tuple[int, ...]:
    """The ids that end a generation: those the file declares, then those known by name."""
    named = (control.get(name) for name in END_NAMES)
    return tuple(dict.fromkeys(token for token in (*declared, *named) if token is not None))
