"""The two streams that a worker reads: work for all workers, control for this one."""

import logging

import msgspec
import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from model.desk import Desk
from model.link import entries_of
from model.members import create_consumer_group
from model.wire import (
    CONSUMER_GROUP,
    FIELD,
    Keys,
    decode_control,
    decode_work,
    decode_work_head,
)

log = logging.getLogger("pollux.worker")

MAX_COMMANDS = 256


class Intake:
    """Each method is one exchange, safe to repeat after a broken one."""

    def __init__(
        self, redis: aioredis.Redis, keys: Keys, worker_id: str, desk: Desk, block_ms: int
    ) -> None:
        self._redis = redis
        self._block_ms = block_ms
        self._keys = keys
        self._id = worker_id
        self._desk = desk

    async def work(self) -> None:
        """Waits a moment for one group and takes it."""
        try:
            await self._read(b">", count=1, block=self._block_ms)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await create_consumer_group(self._redis, self._keys)

    async def unseen_work(self) -> None:
        """Takes what was given to this worker in a reply that never arrived."""
        await create_consumer_group(self._redis, self._keys)
        await self._read(b"0", count=None, block=None)

    async def commands(self) -> None:
        """Waits a moment for commands and obeys them."""
        key = self._keys.control(self._id)
        read = []
        for entry, fields in entries_of(
            await self._redis.xread({key: b"0"}, MAX_COMMANDS, self._block_ms)
        ):
            read.append(entry)
            try:
                control = decode_control(fields[FIELD])
            except (msgspec.DecodeError, KeyError):
                log.warning("ignored a command that this version does not understand")
            else:
                self._desk.obey(control)
        if read:
            await self._redis.xdel(key, *read)

    async def _read(self, after: bytes, count: int | None, block: int | None) -> None:
        reply = await self._redis.xreadgroup(
            CONSUMER_GROUP, self._id, {self._keys.work: after}, count, block
        )
        for entry, fields in entries_of(reply):
            if not self._desk.holds(entry):
                await self._take(entry, fields.get(FIELD, b""))

    async def _take(self, entry: bytes, data: bytes) -> None:
        try:
            head = decode_work_head(data)
        except msgspec.DecodeError:
            log.warning("dropped a work entry that is no message of this version")
            self._desk.settle(entry)
            return
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(self._keys.gateway(head.gateway))
        pipe.time()
        alive, (seconds, micros) = await pipe.execute()
        if not alive:
            self._desk.settle(entry)
            return
        # Both times are the broker's, so they compare.
        queued_s = seconds + micros / 1e6 - int(entry.split(b"-")[0]) / 1e3
        try:
            work = decode_work(data)
        except msgspec.DecodeError as error:
            self._desk.refuse(entry, head, "invalid", f"the worker cannot read this: {error}")
            return
        self._desk.own(entry, work, head.waited_s + max(0.0, queued_s))
