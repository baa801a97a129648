"""Who is on the broker: the readers of leases that workers and gateways share."""

from collections.abc import Callable
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import ResponseError

from model.wire import CONSUMER_GROUP, Keys, WorkerRecord, decode_worker


async def create_consumer_group(redis: aioredis.Redis, keys: Keys) -> None:
    """Creates the work stream and its group where they are missing. Old entries count as new."""
    try:
        await redis.xgroup_create(keys.work, CONSUMER_GROUP, id="0", mkstream=True)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


async def live_workers(redis: aioredis.Redis, keys: Keys) -> list[WorkerRecord]:
    """The workers of a model whose lease runs, oldest first."""
    found = map(decode_worker, await live_records(redis, keys.workers, keys.worker))
    return sorted(found, key=lambda worker: (worker.started, worker.id))


async def live_records(
    redis: aioredis.Redis, members_key: str, record_key: Callable[[str], str]
) -> list[bytes]:
    """The records of a set's members whose lease runs. Takes the others out of the set: who is
    alive after all joins again with its next heartbeat."""
    members: Any = await redis.smembers(members_key)
    if not members:
        return []
    names = [member.decode() for member in members]
    records: Any = await redis.mget([record_key(name) for name in names])
    gone = [name for name, record in zip(names, records, strict=True) if record is None]
    if gone:
        await redis.srem(members_key, *gone)
    return [record for record in records if record is not None]
