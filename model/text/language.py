"""The text side of a model in one object: what the rest of Pollux asks of tokens and templates."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from model.text import plain
from model.text.assets import TextAssets
from model.text.chat import chat_parts
from model.text.control import ControlPieces
from model.text.templates import ChatTemplate, TemplateError
from model.text.tokenizer import load_tokenizer
from model.text.tools.families import ToolFamily, family_of

__all__ = ["ROLES", "CalledFunction", "ChatMessage", "TemplateError", "TextModel"]

ROLES = ("system", "user", "assistant", "tool")


class CalledFunction(msgspec.Struct, frozen=True):
    """A call that an assistant's turn made."""

    name: str
    arguments: dict[str, Any]
    id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        identified = {"id": self.id} if self.id is not None else {}
        function = {"name": self.name, "arguments": self.arguments}
        return {**identified, "type": "function", "function": function}


class ChatMessage(msgspec.Struct, frozen=True):
    """One turn. role: "system", "user", "assistant" or "tool".

    tool_calls: of an assistant's turn, what it called. tool_call_id: of a tool's turn, the call
    that it answers; `name` is the function's then.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[CalledFunction, ...] = ()
    tool_call_id: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As templates read it; what is not there is left out."""
        turn: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            turn["name"] = self.name
        if self.tool_calls:
            turn["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.tool_call_id is not None:
            turn["tool_call_id"] = self.tool_call_id
        return turn

    @property
    def written_length(self) -> int:
        """Characters that its sender wrote, near enough to bound work by."""
        calls = (len(call.name) + len(str(call.arguments)) for call in self.tool_calls)
        return len(self.content) + sum(calls)

    @property
    def uses_tools(self) -> bool:
        return self.role == "tool" or bool(self.tool_calls)


class TextModel:
    """Tokenizer and chat template of one model. Thread-safe.

    eos: the ids that end a generation. chat_stops: the stop strings that a conversation needs when
    the model has no chat template; () otherwise.

    Raises DamagedTokenizer when the tokenizer does not load, TemplateError when the model's chat
    template does not compile.
    """

    def __init__(self, assets: TextAssets) -> None:
        self.assets = assets
        self.tokenizer = load_tokenizer(assets)
        self.eos = assets.eos
        self._control = ControlPieces(assets.control)
        self._template = ChatTemplate(assets.chat_template) if assets.chat_template else None
        self._variables = _special_tokens(assets)

    @property
    def has_chat_template(self) -> bool:
        return self._template is not None

    @property
    def supports_tools(self) -> bool:
        """Whether the model's chat template shows functions to it."""
        return self._template is not None and "tools" in self._template.reads

    @property
    def tool_family(self) -> ToolFamily:
        """How the model writes calls, as far as its chat template shows it."""
        return family_of(self.assets.chat_template or "")

    @property
    def chat_stops(self) -> tuple[str, ...]:
        return () if self._template else plain.STOPS

    def encode_text(self, text: str) -> tuple[int, ...]:
        """A plain prompt, beginning-of-sequence included where the model wants one."""
        ids = self.tokenizer.encode(text)
        if self.assets.add_bos and self.assets.bos is not None:
            ids = [self.assets.bos, *ids]
        return tuple(ids)

    def encode_chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> tuple[int, ...]:
        """A conversation, up to where the assistant speaks.

        continue_final: the last message is left open for the model to continue; no generation
        prompt is added then. tools: functions that the model may call, as
        {"type": "function", "function": {"name", "description", "parameters"}}. Control tokens
        come from the model's template only.

        Raises TemplateError (for callers: a bad request) when there are no messages, a role is
        unknown, there are tools and the template shows none, or it refuses the conversation.
        """
        if not messages:
            raise TemplateError("a conversation needs at least one message")
        for message in messages:
            if message.role not in ROLES:
                raise TemplateError(f"role must be one of {', '.join(ROLES)}")
        calls = any(message.tool_calls for message in messages)
        if (tools or calls) and not self.supports_tools:
            raise TemplateError("the model's chat template has no place for tools")
        turns = [message.as_dict() for message in messages]
        if self._template is None:
            return self.encode_text(
                plain.plain_chat(
                    turns,
                    add_generation_prompt=add_generation_prompt,
                    continue_final=continue_final,
                )
            )
        parts = chat_parts(
            self._template,
            self._control,
            turns,
            add_generation_prompt=add_generation_prompt,
            continue_final=continue_final,
            variables=self._variables,
            tools=tools,
        )
        ids: list[int] = []
        for index, part in enumerate(parts):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self.tokenizer.encode(part, first=index == 0)
        return tuple(ids)


def _special_tokens(assets: TextAssets) -> dict[str, Any]:
    """What templates may name. Absent tokens stay undefined, so that templates can ask."""
    pieces = {token: piece for piece, token in assets.control.items()}
    named = {
        "bos_token": assets.bos,
        "eos_token": assets.eos[0] if assets.eos else None,
        "pad_token": assets.pad,
    }
    variables: dict[str, Any] = {"documents": None}
    for name, token in named.items():
        if token is not None and token in pieces:
            variables[name] = pieces[token]
    return variables
