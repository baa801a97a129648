"""Where keys come from: a variable that holds them, or a file that holds their hashes.

The file has one JSON object on each line; empty lines and those that begin with # say nothing:

    {"name": "alice", "sha256": "<64 hexadecimal digits>", "tokens_per_minute": 100000}
"""

import os
import re
from pathlib import Path
from typing import Annotated

import msgspec

from service.guard.keys import MAX_KEY_BYTES, MIN_KEY_BYTES, NAME, BadKeys, Key, digest_of
from service.guard.limits import Limits

MAX_FILE_BYTES = 1024 * 1024

_KEY = re.compile(rf"[!-+\--~]{{{MIN_KEY_BYTES},{MAX_KEY_BYTES}}}")
"""Printable ASCII without spaces and commas: what a header can carry and the variable can list."""

_Count = Annotated[int, msgspec.Meta(ge=1, le=10**12)]


class KeyLine(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: Annotated[str, msgspec.Meta(pattern=rf"^{NAME.pattern}\Z")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None
    concurrent_sequences: _Count | None = None


def line_of(key: Key) -> str:
    """The file's line, without its end."""
    limits = key.limits
    line = KeyLine(
        name=key.name,
        sha256=key.digest.hex(),
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        concurrent_sequences=limits.concurrent_sequences,
    )
    return msgspec.json.encode(line).decode()


def keys_in_variable(text: str) -> list[Key]:
    """`key` or `name=key`, separated by commas; a key without a name is called by its place.
    Raises BadKeys, which says which of them is at fault and does not show it."""
    keys: list[Key] = []
    for place, part in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        name, mark, key = part.partition("=")
        if not mark:
            name, key = f"key{place}", part
        if NAME.fullmatch(name) is None:
            raise BadKeys(f"API key {place} has a name that is not 1 to 64 of A-Z a-z 0-9 . _ -")
        if _KEY.fullmatch(key) is None:
            raise BadKeys(
                f"API key {place} is not {MIN_KEY_BYTES} to {MAX_KEY_BYTES} printable characters; "
                "`pollux keys new NAME` makes good ones"
            )
        keys.append(Key(name, digest_of(key.encode())))
    return keys


def keys_in_file(path: Path) -> list[Key]:
    """Raises BadKeys with the line at fault."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadKeys(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > MAX_FILE_BYTES:
        raise BadKeys(f"{path} is larger than the {MAX_FILE_BYTES} bytes that a file of keys has")
    keys = []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        try:
            keys.append(_key_of(msgspec.json.decode(line, type=KeyLine)))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadKeys(f"{path}, line {number}: {_short(error)}") from None
    return keys


def add_to_file(path: Path, key: Key) -> None:
    """Appends one line; a file that is not there yet is made for its owner alone (mode 600).

    Raises BadKeys when the file is not one of keys, has the name already or cannot be written."""
    if path.exists() and key.name in {other.name for other in keys_in_file(path)}:
        raise BadKeys(f"{path} has a key named {key.name!r} already")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "r+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            torn = file.read(1) not in (b"", b"\n")
            file.write((b"\n" if torn else b"") + line_of(key).encode() + b"\n")
    except OSError as error:
        raise BadKeys(f"cannot write {path}: {error.strerror or error}") from None


def _key_of(line: KeyLine) -> Key:
    limits = Limits(line.requests_per_minute, line.tokens_per_minute, line.concurrent_sequences)
    return Key(line.name, bytes.fromhex(line.sha256), limits)


def _short(error: Exception) -> str:
    """Without what the line holds: somebody may have put a key there."""
    if isinstance(error, msgspec.ValidationError):
        return re.sub(r"unknown field `.*`", "a field that is not known", str(error))
    return "it is not one JSON object"
