"""A file on its way in."""

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from service.errors import ApiError
from service.files.quota import TRY_AGAIN_S
from service.files.records import FileRecord
from service.files.shelf import Writer

log = logging.getLogger("pollux")
T = TypeVar("T")

WRITE_BYTES = 1024 * 1024
"""Gathered before a thread writes them: most of what an upload holds in memory."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the file is to be.

    id: chosen by the caller, or None. size: bytes, None when they were not said. lifetime:
    seconds, None for the server's. base: the address that this server has for the caller.
    """

    base: str
    mime: str
    id: str | None = None
    filename: str | None = None
    display_name: str | None = None
    purpose: str = "user_data"
    size: int | None = None
    lifetime: float | None = None


@dataclass(eq=False)
class Upload:
    """touched: when bytes last came, in seconds of the store's clock. reserved: bytes taken from
    the quota. file: what came of it, once it is done."""

    owner: str | None
    wanted: Wanted
    key: str
    writer: Writer
    touched: float
    id: str
    reserved: int = 0
    file: FileRecord | None = None
    gone: bool = False
    _busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def describe(self, purpose: str, lifetime: float | None) -> None:
        """For clients that say it after the content."""
        self.wanted = replace(self.wanted, purpose=purpose, lifetime=lifetime)

    @property
    def offset(self) -> int:
        """Bytes that are on disk."""
        return self.writer.size

    @property
    def busy(self) -> bool:
        return self._busy.locked()

    def use(self) -> asyncio.Lock:
        """Held while bytes come in. Raises ApiError("conflict"): no two requests write at once."""
        if self.busy:
            raise ApiError("conflict", "another request is sending bytes of this upload")
        return self._busy


async def on_disk(work: Callable[[], T]) -> T:
    """On a thread. Raises ApiError("unavailable") when the disk is full or fails."""
    try:
        return await settled(asyncio.to_thread(work))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            message = "there is no room left on the server's disk"
        else:
            log.error("storage of files failed: %s", error)
            message = "the server's storage failed; its log says why"
        raise ApiError(
            "unavailable", message, code="storage_failed", retry_after=TRY_AGAIN_S
        ) from None


async def settled(work: Coroutine[Any, Any, T]) -> T:
    """Cannot be cut in the middle: a cancellation is raised when the work is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # it was seen
        raise
