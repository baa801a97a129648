"""Which web pages may use this server from a browser.

CORS alone keeps a page from reading answers, not from asking: a page anywhere could open a
WebSocket to a server on its reader's own machine, or send it a plain POST. A request that says
which page it comes from (`Origin`) is therefore refused unless it comes from this server's own
pages or from an origin that the settings name. Clients that are no browsers send no `Origin`.
"""

import ipaddress
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.types import Scope

ANY = "*"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s,*?#@]+")


def parse_origins(text: str) -> tuple[str, ...]:
    """Comma-separated origins, or `*`. Raises ValueError."""
    origins = tuple(part.strip().lower().rstrip("/") for part in text.split(",") if part.strip())
    if origins == (ANY,):
        return origins
    for origin in origins:
        if _ORIGIN.fullmatch(origin) is None:
            raise ValueError(f"{origin!r} is no origin such as https://example.org, nor a single *")
    return origins


class Origins:
    """trust_names: whether a page under any host name may be this server's own. Without keys, a
    server on the loopback address trusts only addresses and localhost: the name of a hostile page
    may have been made to point at it (DNS rebinding)."""

    def __init__(self, allowed: Collection[str], *, trust_names: bool) -> None:
        self._allowed = frozenset(allowed)
        self._trust_names = trust_names

    def admits(self, scope: Scope) -> bool:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        if origin is None or ANY in self._allowed:
            return True
        text = origin.decode("latin-1").lower()
        return text in self._allowed or self._is_own(text, headers.get(b"host", b""))

    def _is_own(self, origin: str, host: bytes) -> bool:
        scheme, _, place = origin.partition("://")
        if scheme not in ("http", "https") or place != host.decode("latin-1").lower():
            return False
        return self._trust_names or _needs_no_dns(origin)


def _needs_no_dns(origin: str) -> bool:
    try:
        name = urlsplit(origin).hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
