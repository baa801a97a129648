"""Kinds of content, and the text in those that a model of text can read."""

import mimetypes
import re
from dataclasses import dataclass

from service.errors import ApiError

UNKNOWN = "application/octet-stream"

_WORD = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
_MIME = re.compile(rf"({_WORD}/{_WORD})((?:\s*;[^;]{{1,100}})*)")
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([A-Za-z0-9_-]{1,40})\"?\s*(?:;|$)", re.IGNORECASE)

_TEXTUAL = frozenset(
    f"application/{name}"
    for name in (
        "json", "jsonl", "x-ndjson", "ld+json", "xml", "xhtml+xml", "javascript", "x-javascript",
        "ecmascript", "typescript", "x-typescript", "x-python", "x-python-code", "yaml", "x-yaml",
        "toml", "sql", "x-sh", "x-tex", "graphql",
    )
)  # fmt: skip

CHARSETS = {
    "utf-8": "utf-8-sig",
    "utf8": "utf-8-sig",
    "us-ascii": "ascii",
    "ascii": "ascii",
    "utf-16": "utf-16",
    "utf-16le": "utf-16-le",
    "utf-16be": "utf-16-be",
    "iso-8859-1": "latin-1",
    "windows-1252": "cp1252",
}
"""Names in content types, with Python's; a byte order mark is no text."""

MAX_CHAR_BYTES = 4
"""In any of them."""


@dataclass(frozen=True, slots=True)
class Mime:
    """essence: in lower case, without parameters."""

    essence: str
    charset: str = "utf-8"

    @property
    def is_text(self) -> bool:
        kind, _, sort = self.essence.partition("/")
        return kind == "text" or self.essence in _TEXTUAL or sort.endswith(("+json", "+xml"))


def parse_mime(written: str) -> Mime:
    """Raises ValueError."""
    match = _MIME.fullmatch(written.strip())
    if match is None:
        raise ValueError("not a media type such as text/plain")
    charset = _CHARSET.search(match[2])
    return Mime(match[1].lower(), charset[1].lower() if charset else "utf-8")


def guessed(filename: str | None) -> str:
    """By the name's ending; source code, whose kinds no registry has, is text."""
    ending = (filename or "").rpartition(".")[2].lower()
    if ending in _SOURCES:  # the registry takes .ts for a video
        return "text/plain"
    kind, encoding = mimetypes.guess_type(filename or "", strict=False)
    return kind if kind is not None and encoding is None else UNKNOWN


_SOURCES = frozenset(
    (
        "txt", "rst", "log", "jsonl", "yaml", "yml", "toml", "ini", "cfg", "conf", "py", "pyi",
        "js", "ts", "jsx", "tsx", "java", "c", "h", "cc", "cpp", "hpp", "cs", "go", "rs", "rb",
        "php", "swift", "kt", "scala", "sh", "bash", "sql", "tex", "r", "jl", "lua", "pl", "proto",
    )
)  # fmt: skip


def text_of(data: bytes, mime: Mime, param: str) -> str:
    """Raises ApiError("invalid") where the bytes are no text in the charset."""
    codec = CHARSETS.get(mime.charset)
    if codec is None:
        raise ApiError(
            "invalid",
            f"the charset {mime.charset!r} is not known here; there are {', '.join(CHARSETS)}",
            param=param,
        )
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        raise ApiError(
            "invalid",
            f"the {mime.essence} is no {mime.charset} text: its byte {error.start} cannot be read",
            param=param,
        ) from None
