"""Runs one labelled question in full: greedy answer, k sampled paths, a greedy chain of thought.

Nothing stops early here, so that every plan and threshold can be judged afterwards.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from model.contract import (
    Group,
    GroupFailed,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Worker,
    WorkerUnavailable,
)
from routing.answers.base import Extraction, Extractor
from routing.answers.reading import extraction
from routing.calibration.dataset import LabelledQuestion
from routing.confidence import TOP
from routing.events import Question
from routing.polling import PathRecord
from routing.records import RecordedPath, RecordedQuestion
from routing.router import path_seed


class RecordingFailed(Exception):
    """The worker refused or lost a question."""


@dataclass(frozen=True)
class Wanted:
    """What to run of each question. k: sampled paths; 0 is none. confidence: with logprobs."""

    k: int
    greedy: bool = True
    cot: bool = False
    confidence: bool = True


async def record(
    labelled: LabelledQuestion,
    question: Question,
    extractor: Extractor,
    gold: str | None,
    worker: Worker,
    wanted: Wanted,
) -> RecordedQuestion:
    """gold: the true answer in canonical form. Raises RecordingFailed, WorkerUnavailable."""
    began = time.monotonic()
    asked = (
        (wanted.greedy, "direct", question.direct, [_greedy(question.direct_sampling)]),
        (wanted.k > 0, "paths", question.reasoned, _sampled(question, wanted)),
        (wanted.cot, "cot", question.reasoned, [_greedy(question.path_sampling)]),
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            runs = [
                tasks.create_task(_run(worker, f"{labelled.id}-{name}", prompt, samplings, chosen))
                for chosen, name, prompt, samplings in asked
            ]
    except* (RecordingFailed, WorkerUnavailable) as failures:
        raise failures.exceptions[0] from None
    direct, paths, cot = (run.result() for run in runs)
    read = _Reader(extractor, question.begun)
    greedy = await read.extraction(direct[0], direct[0].text) if direct else None
    return RecordedQuestion(
        id=labelled.id,
        answer=gold,
        greedy=greedy.vote if greedy else None,
        greedy_status=greedy.status if greedy else None,
        greedy_tokens=direct[0].tokens if direct else 0,
        greedy_text=direct[0].text if direct else None,
        paths=tuple(await asyncio.gather(*(read.path(path) for path in paths))),
        cot=await read.path(cot[0]) if cot else None,
        question=labelled.text,
        subject=labelled.subject,
        seconds=round(time.monotonic() - began, 3),
    )


class _Reader:
    """Extraction of finished paths. Slow extractors read on a thread. begun: as of a Question; it
    is recorded with each path's text, so that this can be read again."""

    def __init__(self, extractor: Extractor, begun: str) -> None:
        self._extractor = extractor
        self._begun = begun

    async def extraction(self, path: PathRecord, text: str) -> Extraction:
        truncated = path.finish is not None and path.finish.reason == "length"
        return await extraction(self._extractor, text, truncated=truncated)

    async def path(self, path: PathRecord) -> RecordedPath:
        text = self._begun + path.text
        found = await self.extraction(path, text)
        confidence = path.confidence
        return RecordedPath(
            answer=found.vote,
            tokens=path.tokens,
            status=found.status,
            finish=path.finish.reason if path.finish else None,
            mean_logprob=_rounded(confidence.mean_logprob),
            group_confidence=_rounded(confidence.group_confidence),
            self_certainty=_rounded(confidence.self_certainty),
            text=text,
        )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _greedy(sampling: SamplingParams) -> SamplingParams:
    return msgspec.structs.replace(sampling, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0)


def _sampled(question: Question, wanted: Wanted) -> list[SamplingParams]:
    base = question.path_sampling
    if wanted.confidence:
        base = msgspec.structs.replace(base, logprobs=TOP, certainty=True)
    return [
        msgspec.structs.replace(base, seed=path_seed(base.seed, index)) for index in range(wanted.k)
    ]


async def _run(
    worker: Worker, name: str, prompt: Prompt, samplings: Sequence[SamplingParams], chosen: bool
) -> list[PathRecord]:
    if not chosen:
        return []
    paths = [PathRecord(index) for index in range(len(samplings))]
    requests = tuple(PathRequest(index=i, sampling=s) for i, s in enumerate(samplings))
    async with worker.open(Group(id=name, prompt=prompt, paths=requests)) as stream:
        async for event in stream:
            if isinstance(event, GroupFailed):
                raise RecordingFailed(event.message)
            if isinstance(event, PathOutput):
                paths[event.path].take(event)
    if any(path.finish is None or path.finish.reason == "abort" for path in paths):
        raise RecordingFailed("the worker stopped before the path had ended")
    return paths
