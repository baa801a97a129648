"""The text side of a model in one object: what the rest of Pollux asks of tokens and templates."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from model.text import plain
from model.text.assets import TextAssets
from model.text.chat import chat_parts
from model.text.control import ControlPieces
from model.text.templates import ChatTemplate, TemplateError
from model.text.thinking import SWITCHES, marks_of
from model.text.tokenizer import load_tokenizer
from model.text.tools.families import ToolFamily, family_of

__all__ = ["ROLES", "CalledFunction", "ChatMessage", "TemplateError", "TextModel"]

_TAIL = 64
"""Tokens at a prompt's end in which a mark is looked for."""

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
    that it answers; `name` is the function's then. reasoning: of an assistant's turn, what it wrote
    before its answer, for templates that show it again.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: tuple[CalledFunction, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As templates read it; what is not there is left out."""
        turn: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            turn["name"] = self.name
        if self.tool_calls:
            turn["tool_calls"] = [call.as_dict() for call in self.tool_calls]
        if self.tool_call_id is not None:
            turn["tool_call_id"] = self.tool_call_id
        if self.reasoning is not None:
            turn["reasoning_content"] = self.reasoning
        return turn

    @property
    def written_length(self) -> int:
        """Characters that its sender wrote, near enough to bound work by."""
        calls = (len(call.name) + len(str(call.arguments)) for call in self.tool_calls)
        return len(self.content) + len(self.reasoning or "") + sum(calls)

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
        template = assets.chat_template
        self.thinking = marks_of(template, self.tokenizer, assets.control) if template else None
        """The marks of the model's reasoning; None for a model that has no such thing."""

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
    def thinking_switch(self) -> str | None:
        """The variable by which the chat template turns reasoning on and off."""
        reads = self._template.reads if self._template else frozenset[str]()
        return next((name for name in SWITCHES if name in reads), None)

    @property
    def chat_stops(self) -> tuple[str, ...]:
        return () if self._template else plain.STOPS

    def encode_text(self, text: str) -> tuple[int, ...]:
        """A plain prompt, beginning-of-sequence included where the model wants one."""
        ids = self.tokenizer.encode(text)
        if self.assets.add_bos and self.assets.bos is not None:
            ids = [self.assets.bos, *ids]
        return tuple(ids)

    def encode_marks(self, text: str) -> tuple[int, ...]:
        """Text of our own in which control pieces are control tokens, as in a template."""
        ids: list[int] = []
        for part in self._control.cut(text):
            ids += [part] if isinstance(part, int) else self.tokenizer.encode(part, first=False)
        return tuple(ids)

    def ends_with_mark(self, ids: Sequence[int]) -> Literal["opening", "closing"] | None:
        """Which of the marks of reasoning a prompt ends with, but for white space: its template
        has begun the reasoning, or has ruled it out."""
        if self.thinking is None:
            return None
        tail = b""
        control = self.assets.control.values()
        for token in ids[-_TAIL:]:
            spelled = self.tokenizer.token_bytes(token)
            # What a caller wrote before a control token is no mark of the template's.
            tail = b"" if token in control and not spelled else tail + spelled
        text = tail.decode(errors="replace").rstrip()
        if text.endswith(self.thinking.closing):
            return "closing"
        return "opening" if text.endswith(self.thinking.opening) else None

    def encode_chat(
        self,
        messages: Sequence[ChatMessage],
        *,
        add_generation_prompt: bool = True,
        continue_final: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
        thinking: bool | None = None,
    ) -> tuple[int, ...]:
        """A conversation, up to where the assistant speaks.

        continue_final: the last message is left open for the model to continue; no generation
        prompt is added then. tools: functions that the model may call, as
        {"type": "function", "function": {"name", "description", "parameters"}}. thinking: for the
        template's switch, if it has one. Control tokens come from the model's template only.

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
            variables=self._variables | self._switched(thinking),
            tools=tools,
        )
        ids: list[int] = []
        for index, part in enumerate(parts):
            if isinstance(part, int):
                ids.append(part)
            else:
                ids += self.tokenizer.encode(part, first=index == 0)
        return tuple(ids)

    def _switched(self, thinking: bool | None) -> dict[str, Any]:
        if thinking is None or self.thinking_switch is None:
            return {}
        return {self.thinking_switch: thinking}


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
