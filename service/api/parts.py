"""In how many parts a message, and a whole request, may be written."""

from collections.abc import Iterable, Sequence
from typing import Any

from service.api.parsing import refused

MAX_MESSAGE_PARTS = 256
MAX_REQUEST_PARTS = 4096


def check_parts(contents: Iterable[str | Sequence[Any]], param: str) -> None:
    """contents: of all messages; a text is one part. For validators: raises
    PydanticCustomError."""
    count = sum(1 if isinstance(content, str) else len(content) for content in contents)
    if count > MAX_REQUEST_PARTS:
        raise refused(param, f"a request may have {MAX_REQUEST_PARTS} parts, and this has {count}")
