"""Multipart bodies, part by part as they come in: nothing is held but a piece of one."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import ApiError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MAX_PARTS = 32


@dataclass(frozen=True, slots=True)
class Part:
    """headers: by name, in lower case."""

    headers: dict[str, str]

    @property
    def name(self) -> str:
        return self._disposition("name") or ""

    @property
    def filename(self) -> str | None:
        return self._disposition("filename")

    @property
    def mime(self) -> str | None:
        return self.headers.get("content-type")

    def _disposition(self, option: str) -> str | None:
        _, options = parse_options_header(self.headers.get("content-disposition"))
        found = options.get(option.encode())
        return None if found is None else as_text(found)


Event = Part | bytes | None
"""A part begins; bytes of it; it ends."""


def as_text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class MultipartReader:
    """Of a body with this content type. Raises ApiError("invalid")."""

    def __init__(self, content_type: str | None, kinds: tuple[str, ...]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind.decode("latin-1").lower() not in kinds or not 1 <= len(boundary) <= 200:
            raise ApiError("invalid", f"the content type must be {kinds[0]} with a boundary")
        self._events: list[Event] = []
        self._headers: dict[str, str] = {}
        self._field = bytearray()
        self._value = bytearray()
        self._parts = 0
        self._ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": lambda: self._events.append(None),
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": lambda: self._events.append(Part(dict(self._headers))),
            "on_end": self._end,
        }
        self._parser = MultipartParser(boundary, callbacks, max_header_count=16)

    def feed(self, data: bytes) -> list[Event]:
        """Raises ApiError("invalid")."""
        try:
            self._parser.write(data)
        except FormParserError:
            raise malformed() from None
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Raises ApiError("invalid") when the last part has no end."""
        if not self._ended:
            raise malformed()

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise ApiError("invalid", f"a multipart body may have {MAX_PARTS} parts here")
        self._headers = {}

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(data[start:end])

    def _header(self) -> None:
        self._headers[as_text(bytes(self._field)).strip().lower()] = as_text(bytes(self._value))
        self._field.clear()
        self._value.clear()

    def _end(self) -> None:
        self._ended = True


class Parts:
    """The parts one after the other: `next_part`, then all of `content`, then the next."""

    def __init__(self, reader: MultipartReader, chunks: AsyncGenerator[bytes]) -> None:
        self._events = _events(reader, chunks)

    async def next_part(self) -> Part | None:
        async for event in self._events:
            if isinstance(event, Part):
                return event
        return None

    async def content(self) -> AsyncIterator[bytes]:
        """Of the part that began."""
        async for event in self._events:
            if not isinstance(event, bytes):
                return
            yield event

    async def aclose(self) -> None:
        await self._events.aclose()


async def _events(reader: MultipartReader, chunks: AsyncGenerator[bytes]) -> AsyncGenerator[Event]:
    async with aclosing(chunks):
        async for chunk in chunks:
            for event in reader.feed(chunk):
                yield event
    reader.close()


def malformed() -> ApiError:
    return ApiError("invalid", "the multipart body is malformed or cut short")
