"""The decoding processes, and turns at them."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model.media.errors import Reason
from model.media.identity import content_hash
from model.media.jobs import check
from model.media.limits import MediaLimits
from model.media.records import Decoded, Job
from service.errors import ApiError
from service.media.limits import limits_of
from service.media.problems import failure_error, media_error
from service.media.process import Decoder, DecoderFailed, Terms
from service.settings import Settings

log = logging.getLogger("pollux")

MAX_WAITING = 1024
"""Items of all requests that wait for a process."""


@dataclass(frozen=True, slots=True)
class Media:
    """digest: of everything that made `content` what it is; equal ones may share caches."""

    content: Decoded
    digest: str


class DecodingPool:
    """Processes start when they are needed first and serve one item at a time. One that hangs,
    crashes or takes too much is replaced; only its own item fails.

    On one event loop. Raises nothing of its own; `close` ends all processes.
    """

    def __init__(self, terms: Terms, limits: MediaLimits, workers: int) -> None:
        self._terms = terms
        self._limits = limits
        self._turns = asyncio.Semaphore(workers)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="decoding")
        self._idle: list[Decoder] = []
        self._all: set[Decoder] = set()
        self._waiting = 0
        self._closed = False

    @classmethod
    def of(cls, settings: Settings) -> "DecodingPool":
        terms = Terms(settings.decode_memory, settings.max_media_bytes, settings.decode_timeout)
        return cls(terms, limits_of(settings), settings.decode_workers)

    @property
    def pids(self) -> list[int]:
        """Of the processes that run."""
        return [decoder.pid for decoder in self._all if decoder.pid is not None]

    async def decode(self, data: bytes, job: Job, param: str | None = None) -> Media:
        """param: the field at fault, for errors. Cancelling ends the work. Raises ApiError,
        InvalidParameter."""
        check(job)
        if not data:
            raise media_error("unreadable", self._limits, param)
        if len(data) > self._terms.max_bytes:
            message = f"an image, sound or video may have {self._terms.max_bytes} bytes"
            raise ApiError("too_large", message, param=param)
        if self._waiting >= MAX_WAITING:
            message = "too much media waits to be decoded; try again soon"
            raise ApiError("overloaded", message, retry_after=1.0)
        self._waiting += 1
        try:
            async with self._turns:
                return await self._decoded(data, job, param)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        self._closed = True
        for decoder in self._all:
            decoder.kill()
        await asyncio.to_thread(self._threads.shutdown)
        for decoder in list(self._all):
            decoder.close()
        self._all.clear()
        self._idle.clear()

    async def _decoded(self, data: bytes, job: Job, param: str | None) -> Media:
        if self._closed:
            raise ApiError("unavailable", "the server is shutting down", retry_after=1.0)
        decoder = self._idle.pop() if self._idle else Decoder(self._terms)
        self._all.add(decoder)
        work = self._threads.submit(self._work, decoder, data, job)
        try:
            found = await asyncio.wrap_future(work)
        except DecoderFailed as failed:
            log.warning("a decoding process ended: %s", failed)
            raise failure_error(failed.failure, self._limits, param) from None
        except asyncio.CancelledError:
            decoder.kill()
            if work.cancelled():  # its thread never came to it
                decoder.close()
            raise
        finally:
            self._give_back(decoder)
        if isinstance(found, str):
            raise media_error(found, self._limits, param)
        return found

    def _work(self, decoder: Decoder, data: bytes, job: Job) -> Media | Reason:
        """On a thread. A dead decoder is cleared away by the thread that used it."""
        try:
            content = decoder.decode(data, job, self._limits)
        finally:
            if decoder.is_dead or decoder.is_worn:
                decoder.close()
        return (
            content
            if isinstance(content, str)
            else Media(content, content_hash(data, job, content))
        )

    def _give_back(self, decoder: Decoder) -> None:
        if decoder.is_dead:
            self._all.discard(decoder)
        else:
            self._idle.append(decoder)
