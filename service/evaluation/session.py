"""From a file of questions to recorded ones, for `pollux calibrate` and `pollux eval`."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from routing.calibration.dataset import BadDataset, LabelledQuestion, read_questions
from routing.calibration.recorder import Wanted
from routing.policy import RoutingPolicy
from routing.records import BadRecord, RecordedQuestion
from service.commands.console import MISUSED, fail, say
from service.evaluation.journal import OtherRecording, Recording, read_recording
from service.evaluation.progress import recording_progress
from service.evaluation.recording import CannotRecord, Job, record_all, running
from service.settings import Settings
from service.workers.base import Backend


@dataclass(frozen=True)
class Recorded:
    recording: Recording
    questions: list[RecordedQuestion]


def questions_from(data: Path, limit: int | None) -> list[LabelledQuestion]:
    """The first `limit` questions of a file. Ends the command when it holds none."""
    try:
        with data.open("rb") as lines:
            questions = list(read_questions(lines))
    except OSError as error:
        fail(f"cannot read {data}: {error.strerror or error}", MISUSED)
    except BadDataset as error:
        fail(f"{data}, {error}", MISUSED)
    if not questions:
        fail(f"{data} holds no questions", MISUSED)
    return questions if limit is None else questions[:limit]


def record_dataset(
    settings: Settings,
    backend: Backend,
    questions: list[LabelledQuestion],
    policy: RoutingPolicy,
    wanted: Wanted,
    *,
    folder: Path,
    seed: int = 0,
    parallel: int | None = None,
    system: str = "",
) -> Recorded:
    """Asks what is not recorded in the folder yet. Ends the command when it cannot go on."""
    job = Job(questions, policy, wanted, seed, folder, parallel, system)
    try:
        return asyncio.run(_record(settings, backend, job))
    except KeyboardInterrupt:
        fail(f"interrupted; the same command goes on with what is in {folder}", 130)
    except (CannotRecord, OtherRecording, BadRecord, OSError) as error:
        fail(error)


async def _record(settings: Settings, backend: Backend, job: Job) -> Recorded:
    async with running(backend, lambda line: say(f"  {line}")) as served:
        with recording_progress() as report:
            questions = await record_all(job, backend, served, settings, report)
    return Recorded(read_recording(job.folder), questions)
