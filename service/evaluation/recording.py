"""Records labelled questions with the model of the settings: resumable, several at a time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from model.contract import InvalidParameter, WorkerUnavailable
from model.text.templates import TemplateError
from routing.answers.reading import gold
from routing.answers.registry import extractor_for
from routing.calibration.dataset import LabelledQuestion
from routing.calibration.recorder import RecordingFailed, Wanted, record
from routing.policy import RoutingPolicy
from routing.records import RecordedQuestion
from service.api.internal import Ask, Chat
from service.api.planning import Served
from service.api.routed import plan_routed
from service.api.setups import conversation, setup_of
from service.errors import ApiError
from service.evaluation.journal import Journal, Recording
from service.settings import Settings
from service.workers.base import Backend

POLL_S = 0.1
DEFAULT_ROWS = 32
RETRIES = 5
_REFUSALS = (ApiError, TemplateError, InvalidParameter)


class CannotRecord(Exception):
    """The model failed, or a question cannot be asked of it. One line."""


@dataclass(frozen=True)
class Progress:
    """How far a recording is. tokens: of this run, all paths. last: the newest question."""

    done: int
    total: int
    tokens: int
    last: RecordedQuestion | None


@asynccontextmanager
async def running(backend: Backend, report: Callable[[str], None]) -> AsyncIterator[Served]:
    """Starts the backend, waits until its model is ready, and stops it in the end.

    report: told what the worker is doing meanwhile. Raises CannotRecord when it fails.
    """
    await backend.start()
    try:
        shown = ""
        while (status := backend.status()).state != "ready":
            if status.state == "failed":
                raise CannotRecord(status.detail)
            if status.detail != shown:
                shown = status.detail
                report(shown)
            await asyncio.sleep(POLL_S)
        card, text = backend.card, backend.text
        if card is None or text is None:
            raise CannotRecord("the worker is ready and has not said what it serves")
        yield Served(card=card, text=text, routed=False)
    finally:
        await backend.stop()


@dataclass(frozen=True)
class Job:
    """What to record. parallel: questions at a time; None fills the worker's rows twice.
    system: the message before every question."""

    questions: Sequence[LabelledQuestion]
    policy: RoutingPolicy
    wanted: Wanted
    seed: int
    folder: Path
    parallel: int | None = None
    system: str = ""


async def record_all(
    job: Job,
    backend: Backend,
    served: Served,
    settings: Settings,
    report: Callable[[Progress], None],
) -> list[RecordedQuestion]:
    """All questions of the job, in its order; those already in the folder are not asked again.

    Raises CannotRecord, OtherRecording, BadRecord, OSError.
    """
    try:
        setup = setup_of(job.policy, served, settings, system=job.system)
    except _REFUSALS as error:
        raise CannotRecord(str(error)) from error
    recording = Recording(
        setup=setup,
        k=job.wanted.k,
        seed=job.seed,
        cot=job.wanted.cot,
        greedy=job.wanted.greedy,
    )
    with Journal(job.folder, recording) as journal:
        waiting = [question for question in job.questions if question.id not in journal.done]
        total, left, tokens = len(job.questions), len(waiting), 0
        report(Progress(total - left, total, 0, None))
        queue, ended = iter(waiting), time.monotonic()

        async def work() -> None:
            nonlocal left, tokens, ended
            for question in queue:
                done = await _ask(question, job, backend, served, settings)
                now = time.monotonic()
                busy, ended = round(now - ended, 3), now
                journal.add(msgspec.structs.replace(done, busy_seconds=busy))
                tokens += done.all_tokens
                left -= 1
                report(Progress(total - left, total, tokens, done))

        rows = backend.status().max_rows or DEFAULT_ROWS
        parallel = job.parallel or max(2, -(-2 * rows // max(1, job.wanted.k)))
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(parallel, len(waiting))):
                    tasks.create_task(work())
        except* CannotRecord as failures:
            raise failures.exceptions[0] from None
        return [journal.done[question.id] for question in job.questions]


async def _ask(
    labelled: LabelledQuestion, job: Job, backend: Backend, served: Served, settings: Settings
) -> RecordedQuestion:
    """A worker that went away is waited for; a question that it refuses ends the recording."""
    policy = job.policy.model_copy(update={"seed": labelled.seed(job.seed)})
    chat = Chat(conversation(labelled.text, job.system))
    ask = Ask(model=served.card.name, input=chat, routing=policy)
    try:
        plan = plan_routed(ask, policy, served, settings)
    except _REFUSALS as error:
        raise CannotRecord(f"question {labelled.id}: {error}") from error
    extractor = extractor_for(policy.answer, labelled.text)
    known = None if labelled.answer is None else await gold(extractor, labelled.answer)
    for attempt in range(RETRIES):
        try:
            return await record(
                labelled, plan.question, extractor, known, backend.worker, job.wanted
            )
        except WorkerUnavailable as error:
            await asyncio.sleep(error.retry_after * 2**attempt)
        except RecordingFailed as error:
            raise CannotRecord(f"question {labelled.id}: {error}") from error
    raise CannotRecord(f"question {labelled.id}: no worker took it after {RETRIES} attempts")
