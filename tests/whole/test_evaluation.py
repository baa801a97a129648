"""`pollux eval` as a user runs it, on the default model and three questions of our own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.checkpoint

QUESTIONS = (
    {"id": "a", "question": "What is 2 + 2?", "answer": 4},
    {"id": "b", "question": "What is 3 times 3?", "answer": "9"},
    {"id": "c", "question": "What is 10 minus 4?", "answer": "$6.00"},
)


def pollux(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).parent / "pollux"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        timeout=280,
    )


def evaluated(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return pollux(
        "eval", "--data", "questions.jsonl", "--arms", "greedy,cot,majority,routed,mean_logprob",
        "--k", "3", "--answer", "number", "--max-tokens", "32", "--max-rows", "8", *more,
        cwd=folder,
    )  # fmt: skip


def test_eval_measures_goes_on_where_it_was_and_repeats_itself(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text("\n".join(json.dumps(q) for q in QUESTIONS[:2]))
    first = evaluated(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "95 % interval" in first.stdout
    assert "2 of 2 questions" in first.stderr
    folder = tmp_path / "pollux-eval" / "questions-smollm2-135m-instruct"
    before = (folder / "record.jsonl").read_text().splitlines()
    assert len(before) == 2

    (tmp_path / "questions.jsonl").write_text("\n".join(json.dumps(q) for q in QUESTIONS))
    second = evaluated(tmp_path, "--json")
    assert second.returncode == 0, second.stderr
    assert "2 of 3 questions" in second.stderr
    assert (folder / "record.jsonl").read_text().splitlines()[:2] == before
    result = json.loads(second.stdout)
    assert result == json.loads((folder / "results.json").read_text())
    assert (result["questions"], result["k"], result["min_votes"]) == (3, 3, 2)
    assert list(result["arms"]) == ["greedy", "cot", "majority", "routed", "mean_logprob"]
    for arm in result["arms"].values():
        assert 0 <= arm["low"] <= arm["accuracy"] <= arm["high"] <= 1
        assert arm["tokens"] > 0
        assert arm["seconds"] > 0

    other = evaluated(tmp_path, "--temperature", "1")
    assert other.returncode == 1
    assert "temperature: 1.0 here, 0.7 there" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--arms", "luck"), "--arms: luck; there are greedy, cot"),
        (("--k", "0"), "--k: "),
        (("--tau", "2"), "--tau: "),
        (("--answer", "tea"), "--answer: "),
        (("--answer", "{"), "--answer is neither"),
        (("--data", "nowhere.jsonl"), "cannot read nowhere.jsonl"),
    ],
)
def test_a_bad_flag_is_one_line(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "questions.jsonl").write_text(json.dumps(QUESTIONS[0]))
    given = ("--data", "questions.jsonl") if arguments[0] != "--data" else ()
    result = pollux("eval", *given, *arguments, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert message in line
