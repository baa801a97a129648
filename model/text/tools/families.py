"""How a model writes calls, as its chat template shows."""

from collections.abc import Collection
from typing import Literal

from model.text.tools.calls import MAX_CALLS
from model.text.tools.hermes import OPENING, HermesReader
from model.text.tools.json_calls import JsonReader
from model.text.tools.reader import CallReader

ToolFamily = Literal["hermes", "llama", "generic"]


_NOT_JSON = ("<function=", "<arg_key>")
"""What Qwen3-Coder and GLM 4.5 write between the same marks, which nothing here reads."""


def family_of(template: str) -> ToolFamily:
    """hermes: JSON between marks (Qwen 2.5 and 3, Hermes). llama: a JSON object with `parameters`
    (Llama 3). generic: a JSON object or an array of them.
    """
    if OPENING in template and not any(form in template for form in _NOT_JSON):
        return "hermes"
    llama = "<|python_tag|>" in template or '"parameters": dict' in template
    return "llama" if llama else "generic"


def call_reader(family: ToolFamily, names: Collection[str], most: int = MAX_CALLS) -> CallReader:
    """A reader of one answer. See CallReader."""
    if family == "hermes":
        return HermesReader(names, most)
    return JsonReader(names, most, arrays=family == "generic")
