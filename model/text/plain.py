"""The conversation of a base model, which has no chat template: a transcript to be continued.

The form is the one that pretraining text has most of: names, colons, one turn after the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_NAMES = {"user": "User", "assistant": "Assistant", "tool": "Tool"}

STOPS = ("\n\nUser:", "\nUser:")
"""Where the model starts to write the user's next turn."""


def plain_chat(
    messages: Sequence[Mapping[str, Any]],
    *,
    add_generation_prompt: bool = True,
    continue_final: bool = False,
) -> str:
    """The text of a transcript. System messages stand by themselves, as introductions do."""
    turns = [_turn(message["role"], message["content"].strip()) for message in messages]
    if continue_final:
        open_turn = _turn(messages[-1]["role"], messages[-1]["content"].lstrip())
        return "\n\n".join([*turns[:-1], open_turn])
    if add_generation_prompt:
        turns.append(f"{_NAMES['assistant']}:")
    return "\n\n".join(turns)


def _turn(role: str, content: str) -> str:
    name = _NAMES.get(role)
    return f"{name}: {content}" if name else content
