"""Content that comes inside a request: base64 in either alphabet, and data: URLs."""

import base64
import binascii
import re
from dataclasses import dataclass, field

_STANDARD = str.maketrans("-_", "+/")
_HEAD = re.compile(
    r"data:(?P<mime>[A-Za-z0-9!#$&^_.+-]{1,100}/[A-Za-z0-9!#$&^_.+-]{1,100}"
    r"(?:;[A-Za-z0-9_-]{1,40}=[A-Za-z0-9_.\"-]{1,100}){0,8})?;base64,",
    re.IGNORECASE,
)
_MAX_HEAD = 2_048


@dataclass(frozen=True, slots=True)
class DataUrl:
    """mime: None where none is given."""

    mime: str | None
    data: bytes = field(repr=False)


def base64_bytes(written: str, max_bytes: int | None = None) -> bytes:
    """Either alphabet, padded or not. Raises ValueError; OverflowError, before anything is decoded,
    for more than `max_bytes`."""
    if max_bytes is not None and len(written) * 3 // 4 > max_bytes + 2:
        raise OverflowError
    plain = written.translate(_STANDARD).rstrip("=")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    if max_bytes is not None and len(data) > max_bytes:
        raise OverflowError
    return data


def parse_data_url(url: str, max_bytes: int) -> DataUrl:
    """`data:image/png;base64,...`. Raises ValueError; OverflowError for more than `max_bytes`."""
    head = _HEAD.match(url[:_MAX_HEAD])
    if head is None:
        raise ValueError("not a data: URL with a media type and base64")
    if (len(url) - head.end()) * 3 // 4 > max_bytes + 2:
        raise OverflowError
    return DataUrl(head["mime"], base64_bytes(url[head.end() :], max_bytes))
