"""A client of OpenAI's streaming API that notes when each piece of each answer arrives.

It knows nothing of who serves: any base URL will do. It parses as little as it can, since on a
small machine it takes its time from the server that it measures.
"""

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import msgspec

from benchmarks.measurement import percentile

Api = Literal["chat", "completions"]
_PATHS: dict[Api, str] = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


class RequestFailed(Exception):
    """The server refused, or broke the stream off. One line."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    text: str = ""
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Chunk)


@dataclass
class Exchange:
    """One streamed request. Times are of time.perf_counter().

    arrivals: of every piece of text, by answer. finished: why each answer ended.
    """

    sent: float
    arrivals: dict[int, list[float]] = field(default_factory=dict)
    finished: dict[int, str] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    ended: float = 0.0

    @property
    def first(self) -> float:
        """When the first text of any answer came."""
        return min((times[0] for times in self.arrivals.values()), default=self.ended)

    def gaps(self) -> list[float]:
        """Seconds between one piece and the next of the same answer, over all answers."""
        return [
            later - earlier
            for times in self.arrivals.values()
            for earlier, later in itertools.pairwise(times)
        ]


class Client:
    """Requests to one server. api: which endpoint; "completions" sends prompts as they are."""

    def __init__(self, url: str, model: str, api: Api = "chat", timeout: float = 600.0) -> None:
        self._model = model
        self._api = api
        self._http = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(timeout),
            # A server may close an idle connection at the moment when the next request takes it.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
        )

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def body(self, prompt: str, *, new: int, n: int = 1, temperature: float = 0.8) -> bytes:
        asked: dict[str, Any] = {
            "model": self._model,
            "max_tokens": new,
            "n": n,
            "temperature": temperature,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self._api == "chat":
            asked["messages"] = [{"role": "user", "content": prompt}]
        else:
            asked["prompt"] = prompt
        return msgspec.json.encode(asked)

    async def ask(
        self, prompt: str, *, new: int, n: int = 1, watch: "Exchange | None" = None
    ) -> Exchange:
        """Streams the answers to their end. watch: an exchange to fill, to look at meanwhile.

        Raises RequestFailed.
        """
        exchange = watch or Exchange(sent=0.0)
        body = self.body(prompt, new=new, n=n)
        exchange.sent = time.perf_counter()
        headers = {"content-type": "application/json"}
        try:
            async with self._http.stream(
                "POST", _PATHS[self._api], content=body, headers=headers
            ) as reply:
                if reply.status_code != 200:
                    text = (await reply.aread()).decode(errors="replace")
                    raise RequestFailed(f"{reply.status_code}: {' '.join(text.split())[:300]}")
                await _read(reply, exchange)
        except httpx.HTTPError as error:
            raise RequestFailed(f"{type(error).__name__}: {error}") from error
        exchange.ended = time.perf_counter()
        if not exchange.finished:
            raise RequestFailed("the stream ended before any answer did")
        return exchange

    async def ask_all(self, prompts: Sequence[str], *, new: int, n: int = 1) -> list[Exchange]:
        """All at once."""
        return list(await asyncio.gather(*(self.ask(p, new=new, n=n) for p in prompts)))

    async def count(self, prompt: str) -> int:
        """Tokens of a prompt as the server counts them, template included."""
        return (await self.ask(prompt, new=1)).usage.prompt_tokens


async def _read(reply: httpx.Response, exchange: Exchange) -> None:
    pending = b""
    async for data in reply.aiter_raw():
        now = time.perf_counter()
        *events, pending = (pending + data).replace(b"\r\n", b"\n").split(b"\n\n")
        for event in events:
            _note(event.strip(), exchange, now)


def _note(event: bytes, exchange: Exchange, now: float) -> None:
    if not event.startswith(b"data:") or event.endswith(b"[DONE]"):
        return
    chunk = _decoder.decode(event[5:])
    if chunk.error is not None:
        raise RequestFailed(str(chunk.error)[:300])
    if chunk.usage is not None:
        exchange.usage = chunk.usage
    for choice in chunk.choices:
        if choice.text or (choice.delta is not None and choice.delta.content):
            exchange.arrivals.setdefault(choice.index, []).append(now)
        if choice.finish_reason is not None:
            exchange.finished[choice.index] = choice.finish_reason


@dataclass(frozen=True)
class Spread:
    """Milliseconds."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        if not seconds:
            return cls(float("nan"), float("nan"), float("nan"))
        return cls(
            1e3 * percentile(seconds, 0.5), 1e3 * percentile(seconds, 0.99), 1e3 * max(seconds)
        )
