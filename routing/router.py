"""Drives a worker through one routed question: greedy answer first, then as many paths as needed.

The text shown follows a rule that neither timing nor early stopping can change. If the answer is
the greedy one, the greedy text is shown, whatever the route. Otherwise a majority has overruled
it, and the path of the lowest index that voted for the winner is shown: paths start in the order
of their index, so a lower one that has not finished yet is running, and is finished first while
all others are aborted.
"""

import hashlib
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from model.contract import (
    Finish,
    Group,
    GroupFailed,
    GroupStarted,
    GroupStream,
    PathOutput,
    PathRequest,
    PromptScored,
    SamplingParams,
    Worker,
    WorkerUnavailable,
)
from routing.answers.base import Extraction, Extractor
from routing.answers.registry import extractor_for
from routing.events import (
    Decided,
    DirectDone,
    PathDone,
    Question,
    RouteEvent,
    RouteUsage,
    RoutingFailed,
    Shown,
)
from routing.policy import RoutingPolicy
from routing.polling import PathRecord, Polling

__all__ = [
    "Decided",
    "DirectDone",
    "PathDone",
    "Question",
    "RouteEvent",
    "RouteUsage",
    "RoutingFailed",
    "Shown",
    "path_seed",
    "route",
]

MIN_RUNNING = 4


def path_seed(seed: int, index: int) -> int:
    """The seed of a path: 63 bits of blake2b over (base seed, index). Stable for ever."""
    digest = hashlib.blake2b(struct.pack(">QQ", seed, index), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


async def route(
    question: Question,
    policy: RoutingPolicy,
    worker: Worker,
    request_id: str,
    *,
    min_running: int = MIN_RUNNING,
) -> AsyncGenerator[RouteEvent]:
    """Yields `DirectDone`, a `PathDone` per finished path, `Decided` once, and `Shown` last.

    min_running: keep at least so many paths going while any are left, so that a step of the
    engine stays worth its weights. Closing the generator aborts whatever runs.
    Raises RoutingFailed when the worker refuses or fails.
    """
    extractor = extractor_for(policy.answer, question.text)
    run = _Run(question, policy, worker, request_id, extractor, min_running)
    try:
        async with aclosing(run.events()) as events:
            async for event in events:
                yield event
    except WorkerUnavailable as error:
        raise RoutingFailed("unavailable", str(error), retry_after=error.retry_after) from error


class _Run:
    """One question on its way."""

    def __init__(
        self,
        question: Question,
        policy: RoutingPolicy,
        worker: Worker,
        request_id: str,
        extractor: Extractor,
        min_running: int,
    ) -> None:
        self.question = question
        self.policy = policy
        self.worker = worker
        self.request_id = request_id
        self.extractor = extractor
        self.min_running = max(1, min_running)

    async def events(self) -> AsyncGenerator[RouteEvent]:
        direct = await self._direct()
        greedy = self._extract(direct)
        yield DirectDone(direct.text, greedy.vote, direct.tokens, greedy.status)

        polling = Polling(self.policy, greedy.vote)
        if polling.verdict is not None:
            yield Decided(polling.decision())
        else:
            async with aclosing(self._paths(polling)) as events:
                async for event in events:
                    yield event
        yield self._shown(polling, direct)

    async def _direct(self) -> PathRecord:
        request = PathRequest(index=0, sampling=self.question.direct_sampling)
        group = Group(id=f"{self.request_id}-direct", prompt=self.question.direct, paths=(request,))
        record = PathRecord(0)
        async with self.worker.open(group) as stream:
            async for event in stream:
                if isinstance(event, GroupFailed):
                    raise _failure(event)
                if isinstance(event, PathOutput):
                    record.take(event)
        _require_natural_end(record.finish)
        return record

    async def _paths(self, polling: Polling) -> AsyncGenerator[RouteEvent]:
        group = Group(
            id=f"{self.request_id}-paths",
            prompt=self.question.reasoned,
            paths=self._next_paths(polling),
            open=True,
        )
        async with self.worker.open(group) as stream:
            async for event in stream:
                match event:
                    case GroupFailed():
                        raise _failure(event)
                    case PathOutput():
                        if polling.take(event):
                            for news in await self._finished(polling, event.path, stream):
                                yield news
                    case GroupStarted() | PromptScored():
                        pass
        if polling.verdict is None:
            raise RoutingFailed("internal", "the worker closed the group before the vote was over")

    async def _finished(
        self, polling: Polling, index: int, stream: GroupStream
    ) -> list[RouteEvent]:
        """Counts a finished path, and tells the worker what to start or stop because of it."""
        path = polling.paths[index]
        _require_natural_end(path.finish)
        was_decided = polling.verdict is not None
        extraction = self._extract(path)
        polling.count(index, extraction)
        news: list[RouteEvent] = [
            PathDone(
                path=index,
                status=extraction.status,
                answer=extraction.vote,
                tokens=path.tokens,
                votes=polling.votes(),
                consensus=polling.tally.consensus(self.policy.k),
                run=polling.tally.finished,
                remaining=self.policy.k - polling.tally.finished,
            )
        ]
        if polling.verdict is None:
            more = self._next_paths(polling)
            if more:
                await stream.extend(more)
            return news
        if not was_decided:
            news.append(Decided(polling.decision()))
        await _stop_needless(polling, stream)
        return news

    def _next_paths(self, polling: Polling) -> tuple[PathRequest, ...]:
        base = self.question.path_sampling
        return tuple(
            PathRequest(index=index, sampling=_with_seed(base, path_seed(base.seed, index)))
            for index in polling.start(self.min_running)
        )

    def _extract(self, path: PathRecord) -> Extraction:
        truncated = path.finish is not None and path.finish.reason == "length"
        return self.extractor.extract(path.text, truncated=truncated)

    def _shown(self, polling: Polling, direct: PathRecord) -> Shown:
        reasoning = sum(path.tokens for path in polling.paths.values())
        reasoned_prompt = len(self.question.reasoned) if polling.paths else 0
        usage = RouteUsage(
            prompt_tokens=len(self.question.direct) + reasoned_prompt,
            completion_tokens=direct.tokens + reasoning,
            reasoning_tokens=reasoning,
        )
        index = polling.representative()
        shown = direct if index is None else polling.paths[index]
        assert shown.finish is not None
        return Shown(shown.text, shown.finish.reason, index, usage, polling.decision())


async def _stop_needless(polling: Polling, stream: GroupStream) -> None:
    needed = polling.needed_for_text()
    needless = polling.running - needed
    polling.stopped.update(needless)
    if not needed:
        # Closes the open group as well, which frees the prompt's pages.
        await stream.abort()
    elif needless:
        await stream.abort(sorted(needless))


def _with_seed(sampling: SamplingParams, seed: int) -> SamplingParams:
    return msgspec.structs.replace(sampling, seed=seed)


def _failure(event: GroupFailed) -> RoutingFailed:
    retry_after = 1.0 if event.code in ("unavailable", "capacity") else None
    return RoutingFailed(event.code, event.message, param=event.param, retry_after=retry_after)


def _require_natural_end(finish: Finish | None) -> None:
    """A path that the worker cut (it drains, or ran out of time) cannot be counted."""
    if finish is None:
        raise RoutingFailed("internal", "the worker closed the group before its path ended")
    if finish.reason == "abort":
        raise RoutingFailed("unavailable", "the worker stopped a path", retry_after=1.0)
