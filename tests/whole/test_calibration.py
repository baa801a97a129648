"""From questions to a server that knows how far it can be trusted, with the default model."""

import json
import random
from pathlib import Path

import httpx
import pytest

from tests.whole.processes import Pollux, free_port
from tests.whole.test_evaluation import pollux

pytestmark = pytest.mark.checkpoint

POLICY = ("--answer", "number", "--max-tokens", "24", "--max-rows", "16")


def questions(count: int) -> str:
    rng = random.Random(0)
    pairs = [(rng.randint(1, 9), rng.randint(1, 9)) for _ in range(count)]
    return "".join(
        json.dumps({"id": i, "question": f"What is {a} + {b}?", "answer": a + b}) + "\n"
        for i, (a, b) in enumerate(pairs)
    )


def test_calibrated_questions_are_spoken_for_and_another_setup_is_refused(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text(questions(12))
    result = pollux(
        "calibrate", "--data", "questions.jsonl", "--k-max", "4", "--out", "calib", *POLICY,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "12 of 12 questions" in result.stderr
    folder = tmp_path / "calib"
    assert "<svg" in (folder / "report.html").read_text()
    artefact = json.loads((folder / "calibration.json").read_text())
    assert len((folder / "record.jsonl").read_text().splitlines()) == 12

    port = free_port()
    flags = ("serve", "--port", str(port), "--max-rows", "16", "--calibration",
             str(folder / "calibration.json"))  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with Pollux(tmp_path / "serve.log", *flags) as server:
        server.wait_ready(url)
        asked = {
            "model": "smollm2-135m-instruct:routed",
            "messages": [{"role": "user", "content": "What is 2 + 3?"}],
        }
        reply = httpx.post(f"{url}/v1/chat/completions", json=asked, timeout=60).json()
        decision = reply["uncertainty_routing"]
        assert decision["calibration"] == artefact["id"]
        assert (decision["k"], decision["min_votes"]) == (artefact["k"], artefact["min_votes"])
        assert f"calibration {artefact['id']}" in server.output()

    with Pollux(tmp_path / "other.log", *flags, "--weights", "native") as other:
        assert other.process.wait(timeout=120) == 1
        (line,) = [row for row in other.output().splitlines() if row.startswith("pollux: ")]
        assert line.startswith("pollux: the calibration is of another setup (dtype: ")
