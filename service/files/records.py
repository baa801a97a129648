"""What is known of a file beside its content."""

import re
import secrets
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
"""Of a file: as Gemini's API lets callers name theirs."""

MAX_NAME = 512
"""Characters of a display name or of a file's name."""


def new_id() -> str:
    """160 random bits, in letters and digits: google-genai reads no others out of an address."""
    return secrets.token_hex(20)


class FileRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it is written to disk.

    owner: the name of the key that brought it; None where callers are not told apart. filename:
    what OpenAI's clients see. display_name: what Gemini's clients gave. mime: with parameters.
    size: bytes. sha256: hexadecimal. created, expires: microseconds since 1970. uri: how Gemini's
    clients name it in prompts, fixed when it was made.
    """

    id: Annotated[str, Meta(pattern=rf"^(?:{ID.pattern})$")]
    owner: Annotated[str, Meta(max_length=64)] | None
    filename: Annotated[str, Meta(max_length=MAX_NAME)]
    display_name: Annotated[str, Meta(max_length=MAX_NAME)] | None
    mime: Annotated[str, Meta(max_length=256)]
    purpose: Annotated[str, Meta(max_length=64)]
    uri: Annotated[str, Meta(max_length=1024)]
    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    created: Annotated[int, Meta(ge=0)]
    expires: Annotated[int, Meta(ge=0)]
    version: Literal[1] = 1


def timestamp(micros: int) -> str:
    """RFC 3339, in UTC."""
    whole, rest = divmod(micros, 1_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
