"""Nothing that a client sends may look like a line, or a part of one, that the server wrote."""

import json
import re
import traceback

MAX_TRACE = 16_384
MAX_CHAIN = 8
MAX_FRAMES = 40

_PLAIN = re.compile(r"[A-Za-z0-9._:/@+,\-\[\]]+")


def one_line(text: str) -> str:
    """Control characters, line separators of all kinds, marks that turn the direction of writing
    and lone surrogates as escapes; all else as it is."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str) -> str:
    """As it is where that cannot be taken for anything else, otherwise as a JSON string."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def trace_of(error: BaseException, *, messages: bool) -> str:
    """Types and places of an exception and of what led to it, the first cause first.

    messages: what the exceptions say as well, which may quote what a client sent.
    """
    parts: list[str] = []
    _collect(error, parts, messages=messages)
    told = "\n".join(reversed(parts))
    return told if len(told) <= MAX_TRACE else "..." + told[-MAX_TRACE:]


def _collect(error: BaseException | None, parts: list[str], *, messages: bool) -> None:
    seen: set[int] = set()
    while error is not None and len(parts) < MAX_CHAIN and id(error) not in seen:
        seen.add(id(error))
        frames = "".join(traceback.format_tb(error.__traceback__, -MAX_FRAMES))
        said = str(error) if messages else ""
        name = type(error).__qualname__
        parts.append(f"{frames}{name}: {said}" if said else f"{frames}{name}")
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions[:MAX_CHAIN]:
                _collect(inner, parts, messages=messages)
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
