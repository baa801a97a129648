"""Turns as they are kept between requests, and how they become a prompt."""

import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from model.text.language import ChatMessage
from service.api.attachments import NO_TEXTS, Texts
from service.api.openai.responses.schemas import ResponseRequest


def new_id(prefix: str) -> str:
    """Unguessable: an id is all that a caller needs to read what it names."""
    return f"{prefix}_{secrets.token_hex(24)}"


@dataclass(frozen=True, slots=True)
class Item:
    """One turn of a conversation, with its parts as they were sent."""

    role: str
    texts: tuple[str, ...]
    id: str = field(default_factory=lambda: new_id("msg"))

    @property
    def size(self) -> int:
        """Bytes of memory, roughly."""
        return 256 + sum(sys.getsizeof(text) for text in self.texts)

    def message(self) -> ChatMessage:
        """Parts are joined by line breaks, as chat does."""
        role = "system" if self.role == "developer" else self.role
        return ChatMessage(role=role, content="\n".join(self.texts))

    def rendered(self) -> dict[str, Any]:
        if self.role == "assistant":
            content = [{"type": "output_text", "text": text, "annotations": []}
                       for text in self.texts]  # fmt: skip
        else:
            content = [{"type": "input_text", "text": text} for text in self.texts]
        return {
            "id": self.id,
            "type": "message",
            "role": self.role,
            "status": "completed",
            "content": content,
        }


def items_of(body: ResponseRequest, texts: Texts = NO_TEXTS) -> tuple[Item, ...]:
    """texts: of the files, which are kept as what was read in them. Raises ApiError."""
    return tuple(Item(role=message.role, texts=message.written(texts)) for message in body.messages)


def messages_of(instructions: str | None, items: Sequence[Item]) -> tuple[ChatMessage, ...]:
    """Instructions come first, and only those of this request: earlier ones are not carried on."""
    head = [] if instructions is None else [ChatMessage(role="system", content=instructions)]
    return (*head, *(item.message() for item in items))
