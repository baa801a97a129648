"""Requests that carry an upload's id instead of a key: the id is what lets them in."""

import re
import secrets
from urllib.parse import parse_qs

from starlette.types import Scope

UPLOAD_PATH = re.compile(r"(?:/gemini)?/upload/(?:v1|v1beta|v1alpha)/files")
FILES_PATH = re.compile(r"(?:/openai)?/v1/files")

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{43}")


def new_upload_id() -> str:
    """256 random bits: nobody guesses it, and whoever has it may send the file's bytes."""
    return secrets.token_urlsafe(32)


def upload_id_of(scope: Scope) -> str | None:
    """The door and the endpoint both ask this, and nothing else, what a request is: with an id it
    can do no more than go on with that upload."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    if UPLOAD_PATH.fullmatch(scope["path"]) is None:
        return None
    query: str = scope.get("query_string", b"").decode("latin-1")
    try:
        given = parse_qs(query, max_num_fields=16).get("upload_id", [])
    except ValueError:
        return None
    if len(given) != 1 or _UPLOAD_ID.fullmatch(given[0]) is None:
        return None
    return given[0]


def takes_files(scope: Scope) -> bool:
    """Whether a request's body may be as large as a file."""
    if scope["method"] != "POST":
        return False
    path = scope["path"]
    return bool(UPLOAD_PATH.fullmatch(path) or FILES_PATH.fullmatch(path))
