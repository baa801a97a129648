"""Media from addresses that callers name, without lending them this server's place in a network.

Off unless POLLUX_MEDIA_URLS lists hosts. A name is resolved once, every address it has must be
public, and the connection goes to the address that was checked (DNS rebinding); certificates are
checked against the name. Redirects start over. No proxies, cookies or credentials. What went wrong
is told in few words, so that nobody maps a network by asking.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import httpx

from service.errors import ApiError
from service.media.addresses import (
    Address,
    Allowlist,
    Target,
    is_public,
    parse_redirect,
    parse_url,
)
from service.settings import Settings

MAX_REDIRECTS = 3
MAX_ADDRESSES = 4
"""Of one name that are tried."""
MAX_CONCURRENT = 16
CHUNK_BYTES = 64 * 1024
REDIRECTS = frozenset((301, 302, 303, 307, 308))

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """mime: the Content-Type header, None without."""

    data: bytes = field(repr=False)
    mime: str | None


class Fetcher:
    """resolve: name and port to addresses; admits: which addresses may be dialled; verify: the
    authorities of certificates. All three for tests."""

    def __init__(
        self,
        allowlist: Allowlist,
        seconds: float,
        *,
        resolve: Resolve | None = None,
        admits: Callable[[Address], bool] = is_public,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._allowlist = allowlist
        self._seconds = seconds
        self._resolve = resolve or resolved
        self._admits = admits
        self._verify = verify or ssl.create_default_context()
        self._turns = asyncio.Semaphore(MAX_CONCURRENT)

    @classmethod
    def of(cls, settings: Settings) -> "Fetcher":
        return cls(Allowlist(settings.media_urls), settings.media_url_timeout)

    async def fetch(self, url: str, max_bytes: int, param: str | None = None) -> Fetched:
        """Raises ApiError."""
        if not self._allowlist:
            message = "media is not fetched from addresses here; send it, or upload it first"
            raise ApiError("invalid", message, param=param, code="media_url")
        target = parse_url(url, param)
        try:
            async with asyncio.timeout(self._seconds), self._turns:
                return await self._followed(target, max_bytes, param)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError):
            raise _failed(param) from None

    async def _followed(self, target: Target, max_bytes: int, param: str | None) -> Fetched:
        for _ in range(MAX_REDIRECTS + 1):
            if not self._allowlist.admits(target):
                message = "media is not fetched from this host"
                raise ApiError("invalid", message, param=param, code="media_url")
            found = await self._asked(target, max_bytes, param)
            if isinstance(found, Fetched):
                return found
            target = parse_redirect(found, target, param)
        message = f"the media address leads on more than {MAX_REDIRECTS} times"
        raise ApiError("invalid", message, param=param, code="media_url")

    async def _asked(self, target: Target, max_bytes: int, param: str | None) -> Fetched | str:
        """What is there, or where it leads."""
        addresses = await self._addresses(target, param)
        for address in addresses[:-1]:
            try:
                return await self._dialled(target, address, max_bytes, param)
            except httpx.ConnectError:
                continue
        return await self._dialled(target, addresses[-1], max_bytes, param)

    async def _addresses(self, target: Target, param: str | None) -> Sequence[Address]:
        """At least one. All must do: a name that is half inside is a trap."""
        try:
            found: Sequence[Address] = [ipaddress.ip_address(target.host)]
        except ValueError:
            found = await self._resolve(target.host, target.port)
        if not found or not all(self._admits(address) for address in found):
            raise _failed(param)
        return found[:MAX_ADDRESSES]

    async def _dialled(
        self, target: Target, address: Address, max_bytes: int, param: str | None
    ) -> Fetched | str:
        # A client of its own: no connection is shared between names, no cookie kept.
        async with httpx.AsyncClient(
            verify=self._verify,
            trust_env=False,
            follow_redirects=False,
            timeout=self._seconds,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=0),
        ) as client:
            request = client.build_request(
                "GET",
                _dialled_url(target, address),
                headers={"Host": target.authority, "Accept-Encoding": "identity"},
                extensions={"sni_hostname": target.host},
            )
            response = await client.send(request, stream=True)
            try:
                return await _received(response, max_bytes, param)
            finally:
                await response.aclose()


async def _received(response: httpx.Response, max_bytes: int, param: str | None) -> Fetched | str:
    if response.status_code in REDIRECTS and "location" in response.headers:
        return response.headers["location"]
    if response.status_code != 200:
        raise _failed(param)
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise _failed(param)  # compressed although it was asked not to: a bomb's way in
    data = bytearray()
    async for piece in response.aiter_raw(CHUNK_BYTES):
        data += piece
        if len(data) > max_bytes:
            message = f"the media at this address has more than {max_bytes} bytes"
            raise ApiError("too_large", message, param=param)
    return Fetched(bytes(data), response.headers.get("content-type"))


def _dialled_url(target: Target, address: Address) -> httpx.URL:
    """From parts, so that no second parser decides where it goes."""
    return httpx.URL(
        scheme=target.scheme,
        host=str(address),
        port=target.port,
        raw_path=target.target.encode("ascii"),
    )


async def resolved(host: str, port: int) -> Sequence[Address]:
    """By the system. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ipaddress.ip_address(address[0]) for *_, address in found]


def _failed(param: str | None) -> ApiError:
    """One sentence for all that goes wrong behind the address."""
    message = "the media could not be fetched from its address"
    return ApiError("invalid", message, param=param, code="media_url")
