"""The keys that a request presents, as the protocols' clients send them."""

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

BEARER = b"bearer "


def presented(scope: Scope) -> list[bytes]:
    """At most three: `Authorization: Bearer`, `x-goog-api-key` and `?key=`, the first of each.

    The query's name is taken literally, as the access log does that hides its value.
    """
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name == b"authorization":
            if value[: len(BEARER)].lower() == BEARER:
                found.setdefault(name, value[len(BEARER) :].strip())
        elif name == b"x-goog-api-key":
            found.setdefault(name, value.strip())
    for part in scope.get("query_string", b"").split(b"&"):
        name, mark, value = part.partition(b"=")
        if name == b"key" and mark:
            found.setdefault(name, unquote_to_bytes(value))
            break
    order = (b"authorization", b"x-goog-api-key", b"key")
    return [found[name] for name in order if found.get(name)]
