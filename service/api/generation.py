"""Plain generation: one group of n paths, as events or collected."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field

from model.contract import (
    Event,
    FinishReason,
    Group,
    GroupFailed,
    GroupStarted,
    PathOutput,
    PromptScored,
    TokenLogprob,
    Worker,
)
from model.text.thinking import ThoughtCounter
from service.errors import ApiError, of_failure


async def generate(worker: Worker, group: Group) -> AsyncGenerator[Event]:
    """The group's events. Leaving early aborts it. Raises ApiError, WorkerUnavailable.

    The first is always GroupStarted, also where a worker ends a group that asks for no token
    before it has started it.
    """
    unfinished = {path.index for path in group.paths}
    started = False
    async with worker.open(group) as stream:
        async for event in stream:
            if isinstance(event, GroupFailed):
                raise of_failure(event)
            if isinstance(event, PathOutput) and event.finish is not None:
                if event.finish.reason == "abort":
                    raise ApiError("unavailable", "the worker ended this request early")
                unfinished.discard(event.path)
            if isinstance(event, PathOutput) and not started:
                yield GroupStarted(group_id=group.id, prompt_tokens=len(group.prompt))
            started = started or isinstance(event, GroupStarted | PathOutput)
            yield event
    if unfinished:
        raise ApiError("internal", "the worker closed the request before it was done")


@dataclass
class Counts:
    """Tokens of one or more groups, for streams that keep nothing else.

    counters: of the reasoning of each path, where there may be any.
    """

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    counters: Sequence[ThoughtCounter] = ()

    @property
    def thoughts(self) -> int:
        """Tokens of reasoning; they are among those of the completion."""
        return sum(counter.count for counter in self.counters)

    def thoughts_of(self, path: int) -> int:
        return self.counters[path].count if self.counters else 0

    def add(self, event: Event) -> None:
        match event:
            case GroupStarted():
                self.prompt += event.prompt_tokens
                self.cached += event.cached_tokens
            case PathOutput():
                self.completion += len(event.tokens)
                if self.counters:
                    self.counters[event.path].push(event.tokens)


@dataclass
class Choice:
    """One answer, as it grows."""

    texts: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: FinishReason | None = None

    @property
    def text(self) -> str:
        return "".join(self.texts)


@dataclass
class Completion:
    """Everything that a group brought."""

    choices: list[Choice]
    counts: Counts = field(default_factory=Counts)
    scored: tuple[TokenLogprob, ...] = ()

    def add(self, event: Event) -> None:
        self.counts.add(event)
        match event:
            case PromptScored():
                self.scored = event.logprobs
            case PathOutput():
                choice = self.choices[event.path]
                choice.texts.append(event.text)
                choice.tokens.extend(event.tokens)
                choice.logprobs.extend(event.logprobs)
                choice.finish = event.finish.reason if event.finish else choice.finish


def empty_completion(group: Group) -> Completion:
    return Completion([Choice() for _ in group.paths])


async def collect(
    events: AsyncIterator[Event], group: Group, counters: Sequence[ThoughtCounter] = ()
) -> Completion:
    completion = empty_completion(group)
    completion.counts.counters = counters
    async for event in events:
        completion.add(event)
    return completion
