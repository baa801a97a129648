"""The keys that a request presents, as the protocols' clients send them."""

from urllib.parse import unquote_to_bytes

from starlette.types import Scope

BEARER = b"bearer "
QUERY_NAMES = (b"key", b"access_token")
SUBPROTOCOLS = b"sec-websocket-protocol"
KEY_SUBPROTOCOL = b"openai-insecure-api-key."
"""As OpenAI's client in a browser sends its key."""


def presented(scope: Scope) -> list[bytes]:
    """At most four: `Authorization: Bearer`, `x-goog-api-key`, `?key=` (or `?access_token=`), and
    the subprotocol of a browser's WebSocket, which can set no headers; the first of each.

    The query's names are taken literally, as the access log does that hides their values.
    """
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name == b"authorization":
            if value[: len(BEARER)].lower() == BEARER:
                found.setdefault(name, value[len(BEARER) :].strip())
        elif name == b"x-goog-api-key":
            found.setdefault(name, value.strip())
        elif name == SUBPROTOCOLS and scope.get("type") == "websocket":
            for offered in value.split(b","):
                if offered.strip().startswith(KEY_SUBPROTOCOL):
                    found.setdefault(name, offered.strip()[len(KEY_SUBPROTOCOL) :])
    for part in scope.get("query_string", b"").split(b"&"):
        name, mark, value = part.partition(b"=")
        if name in QUERY_NAMES and mark:
            found.setdefault(b"key", unquote_to_bytes(value))
            break
    order = (b"authorization", b"x-goog-api-key", b"key", SUBPROTOCOLS)
    return [found[name] for name in order if found.get(name)]
