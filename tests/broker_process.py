"""A worker process without a model: `python -m tests.broker_process URL PACE_S DRAIN_S`."""

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence

from model.broker import BrokerWorker, serve
from model.contract import Event
from tests.broker_world import QUICK
from tests.fake_engine import FakeEngine


async def main(url: str, pace_s: float, drain_s: float) -> int:
    def build(emit: Callable[[Sequence[Event]], None]) -> FakeEngine:
        return FakeEngine(emit, pace_s=pace_s)

    return await serve(BrokerWorker(url, build, drain_s=drain_s, timing=QUICK))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    sys.exit(asyncio.run(main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))))
