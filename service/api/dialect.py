"""Which protocol a request speaks, when its path alone may not tell."""

from enum import Enum

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

VERBS = (
    "generateContent",
    "streamGenerateContent",
    "countTokens",
    "embedContent",
    "batchEmbedContents",
)
LIVE = "google.ai.generativelanguage."
"""In the path of Gemini's sockets."""


class Dialect(Enum):
    OPENAI = "openai"
    GEMINI = "gemini"


def has_verb(path: str) -> bool:
    """Whether it is a method of a model, `.../models/{name}:{verb}`: only Gemini has such."""
    return "/models/" in path and path.rsplit("/", 1)[-1].rpartition(":")[2] in VERBS


def dialect_of(scope: Scope) -> Dialect:
    """By prefix, by version, by the verb of the path, then by the credential it carries.

    Both protocols have `GET /v1/models` and `GET /v1/files`; only Gemini's clients send
    `x-goog-api-key` or `?key=`.
    """
    # Of the scope, not of the URL: that one is built from the Host header (CVE-2026-48710).
    path: str = scope["path"]
    first = path.lstrip("/").split("/", 1)[0]
    if first in ("gemini", "upload", "v1beta", "v1alpha"):
        return Dialect.GEMINI
    if first == "openai":
        return Dialect.OPENAI
    if LIVE in path or has_verb(path) or path.startswith("/v1/cachedContents"):
        return Dialect.GEMINI
    headers = Headers(scope=scope)
    if "x-goog-api-key" in headers or "x-goog-api-client" in headers:
        return Dialect.GEMINI
    if "authorization" not in headers and "key" in QueryParams(scope.get("query_string", b"")):
        return Dialect.GEMINI
    return Dialect.OPENAI


def protocol_of(scope: Scope) -> str:
    """For the log: the protocol of a request, each kind of socket by its own name."""
    if scope["type"] == "http":
        return dialect_of(scope).value
    path: str = scope["path"]
    if LIVE in path:
        return "gemini_live"
    return "openai_realtime" if path.endswith("/realtime") else "pollux_stream"
