"""How a model writes calls, as its chat template shows."""

from collections.abc import Collection
from typing import Literal

from model.text.tools.calls import MAX_CALLS
from model.text.tools.hermes import OPENING, HermesReader
from model.text.tools.json_calls import JsonReader
from model.text.tools.reader import CallReader

ToolFamily = Literal["hermes", "llama", "generic"]


def family_of(template: str) -> ToolFamily:
    """hermes: JSON between marks (Qwen 2.5 and 3, Hermes). llama: a JSON object with `parameters`
    (Llama 3). generic: a JSON object or an array of them.

    Qwen3-Coder writes elements of its own between the same marks, which nothing here reads.
    """
    if OPENING in template and "<function=" not in template:
        return "hermes"
    llama = "<|python_tag|>" in template or '"parameters": dict' in template
    return "llama" if llama else "generic"


def call_reader(family: ToolFamily, names: Collection[str], most: int = MAX_CALLS) -> CallReader:
    """A reader of one answer. See CallReader."""
    if family == "hermes":
        return HermesReader(names, most)
    return JsonReader(names, most, arrays=family == "generic")
