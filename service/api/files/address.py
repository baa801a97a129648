"""Where this server is, for the addresses that it gives away."""

import ipaddress
import re

from starlette.requests import Request

from service.errors import ApiError
from service.settings import Settings

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?(:[0-9]{1,5})?")
_V6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](:[0-9]{1,5})?")


def base_url(request: Request, settings: Settings) -> str:
    """Without a slash at its end: as the settings say, or else as the request came. A client that
    writes a false Host header gets an address of no use to it, and nobody else sees that.

    Raises ApiError for a Host that is none.
    """
    if settings.public_url is not None:
        return settings.public_url
    host = request.headers.get("host", "")
    if not (_NAME.fullmatch(host) or _is_v6(host)):
        raise ApiError("invalid", "the Host header is missing or malformed")
    return f"{request.scope['scheme']}://{host}"


def _is_v6(host: str) -> bool:
    match = _V6.fullmatch(host)
    if match is None:
        return False
    try:
        ipaddress.IPv6Address(match[1])
    except ValueError:
        return False
    return True
