"""Where media may be fetched from: one grammar of URLs, hosts on a list, public addresses only.

The URL is taken apart here and nowhere else, and put together again from the parts: two parsers
that disagree were CVE-2026-24779 and CVE-2026-25960. What this grammar does not know is refused,
not repaired.
"""

import ipaddress
import re
from dataclasses import dataclass

from service.errors import ApiError

MAX_URL = 2_048

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(
    r"(?P<scheme>https?)://(?:\[(?P<six>[0-9A-Fa-f:.]{2,45})\]|(?P<host>[A-Za-z0-9._-]{1,253}))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[!$%&'()*+,./:;=@A-Za-z0-9_~-]*)?"
    r"(?P<query>\?[!$%&'()*+,./:;=?@A-Za-z0-9_~-]*)?(?:#[!$%&'()*+,./:;=?A-Za-z0-9_~-]*)?",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)")
_PORTS = {"http": 80, "https": 443}

_PUBLIC_6 = ipaddress.ip_network("2000::/3")
_NOT_PUBLIC = [
    ipaddress.ip_network(written)
    for written in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/3",
        "2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
    )
]  # fmt: skip
"""IANA's special-purpose registries; of IPv6 what lies inside 2000::/3. Mapped, compatible and
NAT64 addresses lie outside it; 6to4 and Teredo, which also hold IPv4 addresses, are listed."""


@dataclass(frozen=True, slots=True)
class Target:
    """host: in lower case, without a last dot; an address without brackets. target: path and
    query, as they go on the wire."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_url(url: str, param: str | None = None) -> Target:
    """Raises ApiError."""
    match = _URL.fullmatch(url) if len(url) <= MAX_URL else None
    if match is None:
        raise _refused("is not one that is read here", param)
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] else _PORTS[scheme]
    if not 1 <= port <= 65_535:
        raise _refused("has no such port", param)
    host = _literal_6(match["six"], param) if match["six"] else _name(match["host"], param)
    return Target(scheme, host, port, (match["path"] or "/") + (match["query"] or ""))


def parse_redirect(location: str, base: Target, param: str | None = None) -> Target:
    """A whole URL, or a path on the same host. Raises ApiError, also for https to http."""
    if location.startswith("/") and not location.startswith("//"):
        location = f"{base.scheme}://{base.authority}{location}"
    target = parse_url(location, param)
    if base.scheme == "https" and target.scheme == "http":
        raise _refused("leads to one without encryption", param)
    return target


def is_public(address: Address) -> bool:
    """Whether it is nobody's inside: not this machine, this network, a special or a multicast
    address, nor an IPv6 form of one."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in _PUBLIC_6 or address.scope_id is not None
    ):
        return False
    return address.is_global and not any(
        address in network for network in _NOT_PUBLIC if network.version == address.version
    )


class Allowlist:
    """written: hosts by commas: `example.org`, `*.example.org` (what is below it), `*` (any); each
    with a port (`example.org:8443`) where it is not the scheme's own. Raises ValueError."""

    def __init__(self, written: str) -> None:
        self._entries = [_entry(part) for part in written.split(",") if part.strip()]

    def __bool__(self) -> bool:
        return bool(self._entries)

    def admits(self, target: Target) -> bool:
        usual = target.port == _PORTS[target.scheme]
        return any(
            (usual if port is None else port == target.port) and _matches(pattern, target.host)
            for pattern, port in self._entries
        )


def _entry(part: str) -> tuple[str, int | None]:
    pattern, _, port = part.strip().lower().partition(":")
    name = pattern.removeprefix("*.")
    if pattern != "*" and _HOST.fullmatch(name) is None:
        raise ValueError(f"{part.strip()!r} is no host such as example.org or *.example.org")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise ValueError(f"{part.strip()!r} has no such port")
    return pattern, int(port) if port else None


def _matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:])
    return pattern in ("*", host)


def _literal_6(written: str, param: str | None) -> str:
    try:
        return str(ipaddress.IPv6Address(written))
    except ValueError:
        raise _refused("has no such host", param) from None


def _name(written: str, param: str | None) -> str:
    """A name, or four decimal numbers. Other spellings of addresses (127.1, 0x7f.1, 2130706433,
    0177.0.0.1), which resolvers understand, are refused."""
    host = written.lower().removesuffix(".")
    if _HOST.fullmatch(host) is None:
        raise _refused("has no such host", param)
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise _refused("has no such host", param) from None
    return host


def _refused(why: str, param: str | None) -> ApiError:
    return ApiError("invalid", f"the media address {why}", param=param, code="media_url")
