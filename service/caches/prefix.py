"""How a kept beginning of a conversation goes on, and which of its tokens never change."""

from collections.abc import Sequence
from dataclasses import replace

from model.text.language import ChatMessage, TemplateError, TextModel
from service.api.internal import Chat
from service.api.planning import encode

_CONTINUATIONS = (
    ChatMessage(role="user", content="A"),
    ChatMessage(role="user", content=" b\n"),
    ChatMessage(role="user", content="\n1"),
    ChatMessage(role="user", content="é"),
    ChatMessage(role="assistant", content="A"),
)
"""Beginnings that tokenizers treat differently; what they leave in common stays in others too."""


def continued(
    beginning: Sequence[ChatMessage], rest: Sequence[ChatMessage]
) -> tuple[ChatMessage, ...]:
    """Where a user's turn meets a user's turn they are one, two lines apart: many chat templates
    take no two in a row."""
    if not (beginning and rest and beginning[-1].role == rest[0].role == "user"):
        return (*beginning, *rest)
    joint = replace_content(beginning[-1], f"{beginning[-1].content}\n\n{rest[0].content}")
    return (*beginning[:-1], joint, *rest[1:])


def replace_content(message: ChatMessage, content: str) -> ChatMessage:
    return ChatMessage(role=message.role, content=content, name=message.name)


def held_prefix(chat: Chat, text: TextModel) -> tuple[int, ...]:
    """The longest run of tokens that prompts which go on with this conversation begin with.

    Found by going on in different ways. A prompt that differs earlier all the same is answered as
    well, with less of it found in the cache. Raises TemplateError when the model takes no
    continuation at all, ApiError for tools that it cannot be shown.
    """
    prompts: list[tuple[int, ...]] = []
    refused: TemplateError | None = None
    for continuation in _CONTINUATIONS:
        messages = continued(chat.messages, [continuation])
        try:
            prompts.append(encode(replace(chat, messages=messages), text)[0])
        except TemplateError as error:  # a turn that may not come next
            refused = error
    if not prompts:
        raise refused or TemplateError("the conversation cannot go on")
    return _common(prompts)


def _common(prompts: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    first = prompts[0]
    length = min(map(len, prompts))
    for place in range(length):
        if any(prompt[place] != first[place] for prompt in prompts):
            return first[:place]
    return first[:length]
