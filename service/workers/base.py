"""What the API talks to: a pool of workers and the model that they serve."""

from typing import Protocol

from model.contract import ModelCard, Worker, WorkerStatus
from model.text.language import TextModel


class Backend(Protocol):
    """A pool of workers: the engine of this process, or any number of them behind a broker.

    `text` and `card` are None while no worker has announced its model; the API then answers
    "unavailable". `start` returns without waiting for readiness: `status` tells how far it is.
    `stop` ends what runs, after the grace that the backend was given, and frees everything.
    """

    @property
    def worker(self) -> Worker: ...

    @property
    def text(self) -> TextModel | None: ...

    @property
    def card(self) -> ModelCard | None: ...

    def status(self) -> WorkerStatus: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...
