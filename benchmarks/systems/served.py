"""Systems that are measured through HTTP, each a server in a process of its own."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from benchmarks import http
from benchmarks.client import Api, Client, RequestFailed
from benchmarks.measurement import Measurement
from benchmarks.prompts import Prompts
from benchmarks.systems.base import SystemFailed
from benchmarks.systems.process import Server
from benchmarks.workloads import Workload, is_long

_READY_LIMIT_S = 900.0
_RUN_LIMIT_S = 600.0

T = TypeVar("T")


class MakeServer(Protocol):
    """long: for few long prompts, rather than for many short ones."""

    def __call__(self, *, long: bool) -> Server: ...


class Served:
    """A server, and the client of `benchmarks.http` in this process.

    two_setups: `make` wants another server for long prompts, started when the first one comes.
    """

    def __init__(
        self,
        name: str,
        model: str,
        api: Api,
        make: MakeServer,
        *,
        against: str | None = None,
        two_setups: bool = False,
    ) -> None:
        self.name = name
        self.against = against
        self._model = model
        self._api = api
        self._make = make
        self._two_setups = two_setups
        self._long = False
        self._server: Server | None = None
        self._prompts: Prompts | None = None

    def start(self) -> float:
        self._server = self._make(long=self._long)
        ready = self._server.start(_READY_LIMIT_S)
        # The first request is outside of every measurement. Later setups go on with new prompts.
        calibrated = self._wait(Prompts.calibrated)
        self._prompts = self._prompts or calibrated
        return ready

    def supports(self, workload: Workload) -> bool:
        return True

    def prepare(self, workload: Workload) -> None:
        if self._two_setups and is_long(workload) != self._long:
            self.stop()
            self._long = is_long(workload)
            self.start()

    def run(self, workload: Workload) -> Measurement:
        prompts = self._prompts
        assert prompts is not None
        return self._wait(lambda client: http.run(client, prompts, workload))

    def pids(self) -> list[int]:
        return [] if self._server is None else self._server.pids()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def _wait(self, work: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        server = self._server
        assert server is not None

        async def with_client() -> T:
            async with asyncio.timeout(_RUN_LIMIT_S):
                async with Client(server.url, self._model, self._api) as client:
                    return await work(client)

        try:
            return asyncio.run(with_client())
        except (RequestFailed, TimeoutError) as error:
            raise SystemFailed(f"{self.name}: {error or 'no answer in time'}") from error
