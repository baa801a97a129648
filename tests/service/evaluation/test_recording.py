"""A file of questions, recorded by a worker: all of them once, however often it is interrupted."""

import asyncio
import io
import json
from pathlib import Path

import pytest

from model.contract import Group, PathRequest, WorkerStatus
from routing.calibration.dataset import LabelledQuestion
from routing.calibration.recorder import Wanted
from routing.policy import RoutingPolicy
from routing.records import BadRecord, RecordedQuestion
from service.evaluation.journal import RECORD, SETUP, OtherRecording, read_recording
from service.evaluation.progress import recording_progress
from service.evaluation.recording import CannotRecord, Job, Progress, record_all, running
from tests.scripted import Failure, PathScript, Script, ScriptedWorker, say
from tests.service.support import ScriptedBackend, card, eventually, settings_of, tiny_text

QUESTIONS = [
    LabelledQuestion(id=f"q{number}", text=f"What is {number} + 1?", answer=str(number + 1))
    for number in range(6)
]


def answers(group: Group, path: PathRequest) -> PathScript:
    return say(f"hm\nAnswer: {path.index}")


def backend_over(script: Script) -> ScriptedBackend:
    text = tiny_text()
    return ScriptedBackend(ScriptedWorker(script), text, card(text))


def job(folder: Path, questions: list[LabelledQuestion] = QUESTIONS, **changes: object) -> Job:
    policy = RoutingPolicy.model_validate({"k": 3, "answer": "number", "plan": "all", **changes})
    return Job(questions, policy, Wanted(k=policy.k), seed=0, folder=folder, parallel=2)


async def recorded(
    work: Job, backend: ScriptedBackend, report=lambda progress: None
) -> list[RecordedQuestion]:
    async with running(backend, lambda line: None) as served:
        return await record_all(work, backend, served, settings_of(), report)


def asked(backend: ScriptedBackend) -> set[str]:
    return {stream.group.id.partition("-")[0] for stream in backend.worker.groups}


async def test_every_question_is_recorded_in_the_order_of_the_file(tmp_path: Path) -> None:
    backend = backend_over(answers)
    questions = await recorded(job(tmp_path), backend)
    assert [question.id for question in questions] == [f"q{number}" for number in range(6)]
    assert [question.answer for question in questions] == [str(n + 1) for n in range(6)]
    assert all(
        [path.answer for path in question.paths] == ["0", "1", "2"] for question in questions
    )
    assert (backend.started, backend.stopped) == (1, 1)
    assert len((tmp_path / RECORD).read_text().splitlines()) == 6


async def test_an_interrupted_recording_goes_on_where_it_was(tmp_path: Path) -> None:
    first = backend_over(answers)
    before = await recorded(job(tmp_path, QUESTIONS[:3]), first)
    # Cut in the middle of a write.
    record = tmp_path / RECORD
    record.write_bytes(record.read_bytes()[:-20])

    second = backend_over(answers)
    after = await recorded(job(tmp_path), second)
    assert asked(second) == {"q2", "q3", "q4", "q5"}
    assert [q.id for q in after[:3]] == [q.id for q in before]
    assert after[0] == before[0]


async def test_paths_are_the_same_whatever_was_asked_before(tmp_path: Path) -> None:
    whole, part = backend_over(answers), backend_over(answers)
    await recorded(job(tmp_path / "whole"), whole)
    await recorded(job(tmp_path / "part", QUESTIONS[3:4]), part)

    def seeds(backend: ScriptedBackend) -> list[int]:
        (stream,) = [s for s in backend.worker.groups if s.group.id == "q3-paths"]
        return [path.sampling.seed for path in stream.requests]

    assert seeds(whole) == seeds(part)


async def test_a_folder_with_another_recording_is_refused(tmp_path: Path) -> None:
    await recorded(job(tmp_path, QUESTIONS[:1]), backend_over(answers))
    with pytest.raises(OtherRecording, match=r"temperature: 1\.0 here, 0\.7 there"):
        await recorded(job(tmp_path, temperature=1.0), backend_over(answers))
    with pytest.raises(OtherRecording, match="k: 4 here, 3 there"):
        await recorded(job(tmp_path, k=4), backend_over(answers))


async def test_two_processes_do_not_record_into_one_folder(tmp_path: Path) -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    slow = ScriptedWorker(answers, pace=wait)
    text = tiny_text()
    first = asyncio.create_task(recorded(job(tmp_path), ScriptedBackend(slow, text, card(text))))
    await eventually(lambda: bool(slow.groups))
    with pytest.raises(OtherRecording, match="another process"):
        await recorded(job(tmp_path), backend_over(answers))
    release.set()
    assert len(await first) == 6


async def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    await recorded(job(tmp_path, QUESTIONS[:1]), backend_over(answers))
    (tmp_path / RECORD).write_text("no json\n")
    with pytest.raises(BadRecord, match=r"record\.jsonl, line 1"):
        await recorded(job(tmp_path), backend_over(answers))
    (tmp_path / SETUP).write_text("[]")
    with pytest.raises(OtherRecording, match="describes no recording"):
        read_recording(tmp_path)


async def test_a_question_that_the_worker_refuses_ends_the_recording_by_its_name(
    tmp_path: Path,
) -> None:
    def refuse(group: Group, path: PathRequest) -> PathScript:
        finish = Failure("invalid", "too long") if group.id.startswith("q4") else "stop"
        return say("Answer: 1", finish=finish)

    backend = backend_over(refuse)
    with pytest.raises(CannotRecord, match="question q4: too long"):
        await recorded(job(tmp_path), backend)
    assert backend.worker.idle
    assert backend.stopped == 1


async def test_a_model_that_fails_ends_the_recording(tmp_path: Path) -> None:
    backend = backend_over(answers)
    backend.fixed_status = WorkerStatus(state="failed", detail="no memory")
    with pytest.raises(CannotRecord, match="no memory"):
        await recorded(job(tmp_path), backend)
    assert backend.stopped == 1


async def test_a_recording_says_what_it_is_true_of(tmp_path: Path) -> None:
    await recorded(job(tmp_path, QUESTIONS[:1]), backend_over(answers))
    described = json.loads((tmp_path / SETUP).read_text())
    assert described["k"] == 3
    assert described["setup"]["answer"] == {"type": "number"}
    assert described["setup"]["weights"] == "0123456789abcdef"


async def test_progress_counts_what_was_there_already(tmp_path: Path) -> None:
    await recorded(job(tmp_path, QUESTIONS[:2]), backend_over(answers))
    seen: list[tuple[int, int]] = []
    await recorded(job(tmp_path), backend_over(answers), lambda p: seen.append((p.done, p.total)))
    assert seen[0] == (2, 6)
    assert seen[-1] == (6, 6)


def test_a_log_gets_lines_with_time_left_and_spend() -> None:
    out = io.StringIO()
    with recording_progress(out) as report:
        report(Progress(2, 6, 0, None))
        report(Progress(6, 6, 1234, None))
    first, last = out.getvalue().splitlines()
    assert first.startswith("2 of 6 questions, 0 tokens")
    assert last.startswith("6 of 6 questions, 1,234 tokens, ")
