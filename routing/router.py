"""Drives a worker through one routed question: greedy answer first, then as many paths as needed.

The text shown follows a rule that neither timing nor early stopping can change: the path of the
lowest index that gave the answer. Paths start in the order of their index, so a lower one that has
not finished yet is running, and is finished first while all others are aborted. Where the answer
is the greedy one, only the paths that every poll starts are looked at, and without any of them the
greedy text is shown (docs/routing.md says why).
"""

import asyncio
import hashlib
import struct
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from model.contract import (
    Event,
    Finish,
    Group,
    GroupFailed,
    GroupStarted,
    GroupStream,
    PathOutput,
    PathRequest,
    SamplingParams,
    Worker,
    WorkerUnavailable,
)
from routing.answers.base import Extractor
from routing.answers.reading import extraction
from routing.answers.registry import extractor_for
from routing.confidence import measuring
from routing.decision import Reading
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
from routing.feed import DeadlinePassed, Feed, Sleep
from routing.policy import RoutingPolicy
from routing.polling import PathRecord, Polling
from routing.weighing import weight_of

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
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[RouteEvent]:
    """Yields `DirectDone`, a `PathDone` per finished path, `Decided` once, and `Shown` last.

    min_running: keep at least so many paths going while any are left, so that a step of the
    engine stays worth its weights (plans greedy_first and lossy). sleep: waits for the deadline.
    Closing the generator aborts whatever runs.
    Raises RoutingFailed when the worker refuses or fails, or with "deadline" when that passed
    before there was any answer to give.
    """
    extractor = extractor_for(policy.answer, question.text)
    run = _Run(question, policy, worker, request_id, extractor, min_running, sleep)
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
        sleep: Sleep,
    ) -> None:
        self.question = question
        self.policy = policy
        self.request_id = request_id
        self.extractor = extractor
        self.min_running = max(1, min_running)
        self.feed = Feed(worker, policy.budget.deadline_s, sleep)
        self.polling = Polling(policy, extractor.name)
        self.direct_group = _direct_group(question, policy, request_id)
        self.direct = PathRecord(None)
        self.direct_stream: GroupStream | None = None
        self.paths_stream: GroupStream | None = None
        self.direct_is_needed = True
        self.decided = False
        self.cached_tokens = 0

    async def events(self) -> AsyncGenerator[RouteEvent]:
        async with self.feed:
            self.direct_stream = await self.feed.open(self.direct_group)
            if self.policy.plan == "latency":
                await self._start_paths()
            try:
                while (event := await self.feed.next()) is not None:
                    for news in await self._hear(event):
                        yield news
            except DeadlinePassed:
                for news in self._run_out_of_time():
                    yield news
        if self.polling.verdict is None:
            raise RoutingFailed("internal", "the worker closed a group before the vote was over")
        yield self._shown()

    # --- what is asked ---------------------------------------------------------------------------

    async def _start_paths(self) -> None:
        """The first of them, or as many more as are wanted by now."""
        if self._is_spent:
            return
        paths = self._next_paths()
        if not paths:
            return
        if self.paths_stream is not None:
            await self.paths_stream.extend(paths)
            return
        self.paths_stream = await self.feed.open(
            Group(
                id=f"{self.request_id}-paths",
                prompt=self.question.reasoned,
                paths=paths,
                open=True,
            )
        )

    def _next_paths(self) -> tuple[PathRequest, ...]:
        base = self.question.path_sampling
        if self.policy.weighting is not None:
            base = measuring(base, self.policy.weighting)
        return tuple(
            PathRequest(index=index, sampling=_with_seed(base, path_seed(base.seed, index)))
            for index in self.polling.start(self.min_running)
        )

    # --- what is heard ---------------------------------------------------------------------------

    async def _hear(self, event: Event) -> list[RouteEvent]:
        match event:
            case GroupStarted():
                self.cached_tokens += event.cached_tokens
                return []
            case GroupFailed():
                if self._waits_for_more():
                    raise _failure(event)
                return []
            case PathOutput() if event.group_id == self.direct_group.id:
                news = await self._hear_direct(event)
            case PathOutput():
                news = await self._hear_path(event)
            case _:
                return []
        if self._is_spent and self._tokens_would_help():
            self.polling.exhaust("tokens")
            news += await self._go_on()
        return news

    async def _hear_direct(self, output: PathOutput) -> list[RouteEvent]:
        self.direct.take(output)
        if output.finish is None or not self.direct_is_needed:
            return []
        _require_natural_end(output.finish)
        reading = await self._read(self.direct)
        self.polling.learn_greedy(reading)
        done = DirectDone(reading.text, reading.answer, reading.tokens, reading.status)
        return [done, *await self._go_on()]

    async def _hear_path(self, output: PathOutput) -> list[RouteEvent]:
        polling = self.polling
        if not polling.take(output):
            return []
        path = polling.paths[output.path]
        _require_natural_end(path.finish)
        reading = await self._read(path)
        polling.count(reading, self._weight(path))
        done = PathDone(
            path=output.path,
            status=reading.status,
            answer=reading.answer,
            tokens=reading.tokens,
            text=reading.text,
            votes=polling.votes(),
            consensus=polling.consensus,
            run=polling.tally.finished,
            remaining=polling.remaining,
        )
        return [done, *await self._go_on()]

    async def _go_on(self) -> list[RouteEvent]:
        """Tells the worker what to start or stop, now that something has changed."""
        if self.polling.verdict is not None:
            news = self._newly_decided()
            await self._stop_needless()
            return news
        if self.polling.exhausted:
            await self._stop_paths(self.polling.running)
        elif self.polling.knows_greedy:
            await self._start_paths()
        else:
            await self._stop_paths(self.polling.hopeless())
        return []

    def _newly_decided(self) -> list[RouteEvent]:
        if self.decided:
            return []
        self.decided = True
        return [Decided(self.polling.decision(final=False))]

    def _run_out_of_time(self) -> list[RouteEvent]:
        """Whatever runs is aborted by leaving the feed; nothing waits for the worker any more."""
        if self._waits_for_more():
            self.polling.exhaust("deadline")
        if self.polling.verdict is None:
            raise RoutingFailed(
                "deadline",
                f"no answer was there within the deadline of {self.policy.budget.deadline_s:g} s",
            )
        return self._newly_decided()

    def _waits_for_more(self) -> bool:
        """Whether the decision or its text hangs on what still runs."""
        polling = self.polling
        if polling.verdict is None:
            return True
        return bool(polling.needed_for_text()) or polling.needs_direct()

    def _tokens_would_help(self) -> bool:
        """Whether the decision or its text hangs on paths. The direct answer has its share."""
        polling = self.polling
        if polling.verdict is None:
            return polling.knows_greedy or bool(polling.running)
        return bool(polling.needed_for_text())

    @property
    def _is_spent(self) -> bool:
        """Of the tokens. While the direct answer is written, all that it may have is set aside."""
        allowed = self.policy.budget.tokens
        if allowed is None:
            return False
        set_aside = self.direct_group.paths[0].sampling.max_tokens
        direct = self.direct.tokens if self.polling.knows_greedy else set_aside
        return direct + self.polling.tokens >= allowed

    # --- what is stopped -------------------------------------------------------------------------

    async def _stop_needless(self) -> None:
        polling = self.polling
        if self.direct_is_needed and not polling.knows_greedy and not polling.needs_direct():
            self.direct_is_needed = False
            assert self.direct_stream is not None
            await self.direct_stream.abort()
        needed = set() if polling.exhausted else polling.needed_for_text()
        await self._stop_paths(polling.running - needed, close=not needed)

    async def _stop_paths(self, needless: set[int], *, close: bool = False) -> None:
        self.polling.stop(needless)
        if self.paths_stream is None:
            return
        if close:
            # Ends the open group as well, which frees the prompt's pages.
            await self.paths_stream.abort()
        elif needless:
            await self.paths_stream.abort(sorted(needless))

    # --- what comes out --------------------------------------------------------------------------

    async def _read(self, path: PathRecord) -> Reading:
        truncated = path.finish is not None and path.finish.reason == "length"
        begun = "" if path.index is None else self.question.begun
        return path.reading(
            await extraction(self.extractor, begun + path.text, truncated=truncated)
        )

    def _weight(self, path: PathRecord) -> float:
        weighting = self.policy.weighting
        if weighting is None:
            return 0.0
        weight = weight_of(path.confidence, weighting)
        if weight is None or path.confidence.tokens < path.tokens:
            raise RoutingFailed("internal", f"the worker does not measure {weighting}")
        return weight

    def _shown(self) -> Shown:
        polling, direct = self.polling, self.direct
        usage = RouteUsage(
            prompt_tokens=len(self.question.direct)
            + (len(self.question.reasoned) if polling.paths else 0),
            completion_tokens=direct.tokens + polling.tokens,
            reasoning_tokens=polling.tokens,
            cached_tokens=self.cached_tokens,
        )
        decision = polling.decision(final=True)
        if decision.route == "abstain":
            return Shown("", "stop", None, usage, decision)
        index = polling.representative()
        shown = direct if index is None else polling.paths[index]
        assert shown.finish is not None
        return Shown(shown.text, shown.finish.reason, index, usage, decision)


def direct_id(request_id: str) -> str:
    """The id of the group that answers a request directly."""
    return f"{request_id}-direct"


def _direct_group(question: Question, policy: RoutingPolicy, request_id: str) -> Group:
    """The direct answer is never cut off by the budget of tokens: it just has no more than that."""
    sampling, allowed = question.direct_sampling, policy.budget.tokens
    if allowed is not None and allowed < sampling.max_tokens:
        sampling = msgspec.structs.replace(sampling, max_tokens=allowed)
    request = PathRequest(index=0, sampling=sampling)
    return Group(id=direct_id(request_id), prompt=question.direct, paths=(request,))


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
