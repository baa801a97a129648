"""One question, run in full against a scripted worker."""

import pytest

from model.contract import Group, PathRequest, Prompt, SamplingParams
from routing.answers.registry import extractor_for
from routing.answers.specs import NumberAnswer
from routing.calibration.dataset import LabelledQuestion
from routing.calibration.recorder import RecordingFailed, Wanted, record
from routing.events import Question
from routing.records import RecordedQuestion
from routing.router import path_seed
from tests.scripted import Failure, PathScript, ScriptedWorker, say

LABELLED = LabelledQuestion(id="q1", text="What is 3 + 4?", answer="7")
DIRECT, REASONED = Prompt.of_tokens(range(5)), Prompt.of_tokens(range(7))
QUESTION = Question(
    direct=DIRECT,
    reasoned=REASONED,
    direct_sampling=SamplingParams(max_tokens=20, temperature=0),
    path_sampling=SamplingParams(max_tokens=100, temperature=0.7, top_p=0.9, seed=11),
)


async def recorded(worker: ScriptedWorker, wanted: Wanted) -> RecordedQuestion:
    return await record(LABELLED, QUESTION, extractor_for(NumberAnswer()), "7", worker, wanted)


def answers(group: Group, path: PathRequest) -> PathScript:
    if group.prompt == DIRECT:
        return say("Answer: 8")
    if path.sampling.temperature == 0:
        return say("3 and 4 is 7\nAnswer: 7")
    return say(f"hm\nAnswer: {path.index}", finish="length" if path.index == 2 else "stop")


async def test_everything_is_run_and_written_down() -> None:
    worker = ScriptedWorker(answers)
    question = await recorded(worker, Wanted(k=3, cot=True))
    assert (question.id, question.answer, question.greedy) == ("q1", "7", "8")
    assert [path.answer for path in question.paths] == ["0", "1", None]
    assert [path.status for path in question.paths] == ["ok", "ok", "truncated"]
    assert [path.text for path in question.paths] == [f"hm\nAnswer: {index}" for index in range(3)]
    assert all(path.tokens > 0 for path in question.paths)
    assert question.cot is not None
    assert question.cot.answer == "7"
    assert question.greedy_text == "Answer: 8"
    assert worker.idle


async def test_paths_are_those_that_the_router_would_sample() -> None:
    worker = ScriptedWorker(answers)
    await recorded(worker, Wanted(k=3, cot=True))
    (paths,) = [stream.group for stream in worker.groups if stream.group.id == "q1-paths"]
    assert [path.sampling.seed for path in paths.paths] == [path_seed(11, i) for i in range(3)]
    assert {path.sampling.top_p for path in paths.paths} == {0.9}
    (cot,) = [stream.group for stream in worker.groups if stream.group.id == "q1-cot"]
    assert cot.paths[0].sampling.temperature == 0
    assert cot.paths[0].sampling.top_p == 1


async def test_what_is_not_wanted_is_not_run() -> None:
    worker = ScriptedWorker(answers)
    question = await recorded(worker, Wanted(k=0, greedy=False, cot=True))
    assert [stream.group.id for stream in worker.groups] == ["q1-cot"]
    assert (question.greedy, question.paths) == (None, ())


async def test_confidence_is_recorded_where_logprobs_come() -> None:
    measured = await recorded(ScriptedWorker(answers), Wanted(k=2))
    assert all(path.mean_logprob is not None for path in measured.paths)
    without = await recorded(ScriptedWorker(answers), Wanted(k=2, confidence=False))
    assert all(path.mean_logprob is None for path in without.paths)


async def test_a_refused_question_says_why_and_leaves_nothing_running() -> None:
    def refuse(group: Group, path: PathRequest) -> PathScript:
        if group.prompt == DIRECT:
            return say("Answer: 8")
        return say("hm hm", finish=Failure("invalid", "too long"))

    worker = ScriptedWorker(refuse)
    with pytest.raises(RecordingFailed, match="too long"):
        await recorded(worker, Wanted(k=2))
    assert worker.idle
