"""Bodies that are read as they come in."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from service.api.files.capability import takes_files
from service.api.files.multipart import MAX_PARTS
from service.errors import ApiError, ClientGone
from service.guard.body import BodyRule
from service.settings import Settings

MAX_METADATA_BYTES = 64 * 1024
SLOWEST_BYTES_PER_SECOND = 16 * 1024
"""Of an upload, after the time that any body has."""


def upload_rule(settings: Settings) -> Callable[[Scope], BodyRule | None]:
    """Files may be larger than other bodies, and take longer. Their descriptions are bounded where
    they are read."""
    largest = settings.max_file_bytes + MAX_PARTS * MAX_METADATA_BYTES
    rule = BodyRule(largest, settings.body_timeout, SLOWEST_BYTES_PER_SECOND)
    return lambda scope: rule if takes_files(scope) else None


async def chunks_of(request: Request) -> AsyncGenerator[bytes]:
    """Raises ApiError: "too_large", "slow" or ClientGone."""
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise ClientGone from None


async def small_body(request: Request) -> bytes:
    """Of a request that describes a file and does not bring it. Raises ApiError."""
    return await gathered(chunks_of(request))


async def gathered(chunks: AsyncIterator[bytes]) -> bytes:
    """Raises ApiError("too_large") beyond what a description may have."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_METADATA_BYTES:
            raise ApiError(
                "too_large",
                f"what describes a file may have {MAX_METADATA_BYTES} bytes",
                code="request_too_large",
            )
    return bytes(body)
