"""Conversations through a chat template to token ids, with control tokens from the template only.

Templates are free to trim, split and inspect what callers wrote, and put it beside their own
control pieces. So that nothing of a caller's ever becomes one:

1. The template is rendered with each control piece that a caller's text spells broken: its first
   character is swapped for a private one that occurs nowhere else.
2. It is rendered again with every character that control pieces are made of swapped in all that
   callers wrote. Whatever a template does with such text (joining it to its own, cutting parts
   out), it cannot spell a control piece; so the control pieces here are the template's own. (Roles
   and the words of schemas and calls stay: templates look for them, and they come from a list.)
3. When both have the same control tokens, the first is used: there the template saw the words. If
   not, the second.

The rendering is cut at its control pieces; swapped characters are put back in the text between
them, and each run is encoded in one go, so that borders between template and caller tokenize as
they do in transformers.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.text.control import ControlPieces, Disguise, OutOfPrivateCharacters
from model.text.templates import ChatTemplate, TemplateError

Message = Mapping[str, Any]
Parts = list[str | int]

KNOWN_KEYS = frozenset(
    (
        "id", "type", "function", "name", "description", "parameters", "arguments", "strict",
        "properties", "required", "items", "enum", "const", "default", "anyOf", "oneOf", "allOf",
        "additionalProperties", "nullable", "format", "title", "$defs", "$ref",
    )
)  # fmt: skip
KNOWN_TYPES = frozenset(
    ("function", "string", "number", "integer", "boolean", "array", "object", "null")
)


def chat_parts(
    template: ChatTemplate,
    control: ControlPieces,
    messages: Sequence[Message],
    *,
    add_generation_prompt: bool,
    continue_final: bool,
    variables: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]] = (),
) -> Parts:
    """Runs of plain text and control token ids, in order.

    continue_final: the last message is left open, to be continued. A template that trims it has
    it continued without its trailing spaces, as in transformers. variables: what the template
    sees besides the messages (bos_token and so on); they are trusted. tools: functions that are
    offered, {"type": "function", "function": {...}}. Trusted are also `role` and the words in which
    functions and calls are written (KNOWN_KEYS, KNOWN_TYPES), which templates look for.

    Raises TemplateError.
    """
    try:
        disguise = Disguise.avoiding(control, [template.source, *_strings([*messages, *tools])])
    except OutOfPrivateCharacters as error:
        raise TemplateError(str(error)) from None

    def rendered(swap: Callable[[str], str]) -> str:
        shown = [_swapped(message, swap) for message in messages]
        given = {**variables, "tools": [_map_strings(tool, swap) for tool in tools] or None}
        if not continue_final:
            return template.render(shown, add_generation_prompt=add_generation_prompt, **given)
        shown[-1]["content"] += disguise.spare + " "
        text = template.render(shown, add_generation_prompt=False, **given)
        return _until(text, disguise.spare)

    seen = control.cut(rendered(disguise.guarded))
    safe = control.cut(rendered(disguise.whole))
    parts = seen if _ids(seen) == _ids(safe) else safe
    return [part if isinstance(part, int) else disguise.lifted(part) for part in parts]


def _until(text: str, mark: str) -> str:
    """The text before the mark; a mark that lost its space was trimmed, and so is the text."""
    at = text.rfind(mark)
    if at < 0:
        raise TemplateError("the chat template leaves no way to continue the final message")
    before = text[:at]
    return before if text.startswith(mark + " ", at) else before.rstrip()


def _swapped(message: Message, swap: Callable[[str], str]) -> dict[str, Any]:
    return {
        key: value if key == "role" else _map_strings(value, swap) for key, value in message.items()
    }


def _map_strings(value: Any, swap: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return swap(value)
    if isinstance(value, Mapping):
        return {_key(key, swap): _member(key, item, swap) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_map_strings(item, swap) for item in value]
    return value


def _key(key: str, swap: Callable[[str], str]) -> str:
    return key if key in KNOWN_KEYS else swap(key)


def _member(key: str, value: Any, swap: Callable[[str], str]) -> Any:
    if key == "type" and isinstance(value, str) and value in KNOWN_TYPES:
        return value
    return _map_strings(value, swap)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for pair in value.items() for item in pair for text in _strings(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _strings(item)]
    return []


def _ids(parts: Parts) -> list[int]:
    return [part for part in parts if isinstance(part, int)]
