"""The `pollux` command: one line when something is wrong, a vote to watch when it is not."""

import asyncio
import io
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import get_args

import httpx
import pytest
from rich.console import Console
from typer.testing import CliRunner

import service.cli
from model.contract import WorkerStatus
from routing.stopping import Route
from service.commands import checkpoint
from service.commands.vote_view import LineView, LiveView, outcome
from tests.scripted import ScriptedWorker, completion_order
from tests.service.support import MODEL, running
from tests.service.test_routed import DECISION, three_of_four

ROOT = Path(__file__).parents[2]


def pollux(*arguments: str, **environment: str):
    return CliRunner(env=environment).invoke(service.cli.app, arguments)


def one_line(result) -> str:
    line = result.stderr.strip()
    assert "\n" not in line
    assert line.startswith("pollux: ")
    return line


def test_version_is_one_line() -> None:
    result = pollux("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith("pollux ")


def test_models_lists_the_catalogue() -> None:
    result = pollux("models")
    assert result.exit_code == 0
    assert "smollm2-135m-instruct" in result.stdout
    assert "gemma-3-270m" in result.stdout


@pytest.mark.parametrize(
    "command", [("serve", "--port", "0"), ("worker", "--redis", "redis://127.0.0.1:1")]
)
def test_an_unknown_model_lists_what_there_is(command: tuple[str, ...]) -> None:
    result = pollux(*command, "--model", "nope")
    assert result.exit_code == 2
    assert "smollm2-135m-instruct" in one_line(result)


def test_a_damaged_file_is_told_before_anything_listens(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + b"\xff" * 60)
    result = pollux("serve", "--model", str(file), "--port", "0")
    assert result.exit_code == 1
    one_line(result)


def test_a_port_in_use_is_told_before_a_model_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = pollux("serve", "--model", "nope", "--port", str(listener.getsockname()[1]))
    assert result.exit_code == 1
    assert "--port" in one_line(result)


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["--port", "70000"], {}, "--port"),
        (["--dtype", "int3"], {}, "--dtype"),
        (["--kv-memory", "lots"], {}, "--kv-memory"),
        ([], {"POLLUX_MAX_ROWS": "0"}, "POLLUX_MAX_ROWS"),
        (["--redis", "http://x"], {}, "redis"),
    ],
)
def test_a_bad_setting_is_named(arguments, environment, named) -> None:
    result = pollux("serve", *arguments, **{"POLLUX_PORT": "0", **environment})
    assert result.exit_code in (1, 2)
    assert named in one_line(result)


def test_a_worker_needs_a_broker() -> None:
    result = pollux("worker")
    assert result.exit_code == 2
    assert "--redis" in one_line(result)


def test_ask_without_a_server_says_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = pollux("ask", "hm?", "--url", f"http://127.0.0.1:{port}")
    assert result.exit_code == 1
    assert "pollux serve" in one_line(result)


async def test_ask_shows_votes_then_the_answer_how_sure_and_what_it_cost() -> None:
    worker = ScriptedWorker(three_of_four, schedule=completion_order([0, 2, 1, 3]))
    async with running(worker) as server:
        result = await asyncio.to_thread(
            pollux, "ask", "2+2?", "--k", "4", "--tau", ".5", "--answer", "number", "--seed", "5",
            "--url", server.url,
        )  # fmt: skip
        base = worker.groups[0].requests[0].sampling.seed
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "direct answer: 5"
    assert lines[1] == "path 0: 4   [4: 1; 3 to go]"
    assert lines[2].startswith("path 2: (invalid)")
    assert "Path 0 thinks. Answer: 4" in lines
    assert "Answer: 4" in lines
    assert any(line.startswith("majority: agreed on by") for line in lines)
    assert any(line.startswith("consensus ") and "; paths: " in line for line in lines)
    assert lines[-1].startswith("cost: ")
    assert base == 5


async def test_ask_without_routing_prints_the_text() -> None:
    async with running(lambda g, p: "hello you") as server:
        result = await asyncio.to_thread(pollux, "ask", "hi", "--no-routing", "--url", server.url)
    assert result.stdout.startswith("hello you\n")


async def test_ask_tells_the_servers_complaint_in_one_line() -> None:
    async with running(lambda g, p: "x") as server:
        result = await asyncio.to_thread(pollux, "ask", "hi", "--k", "900", "--url", server.url)
        assert result.exit_code == 1
        assert "uncertainty_routing.k" in one_line(result)
        result = await asyncio.to_thread(
            pollux, "ask", "hi", "--model", "other", "--url", server.url
        )
        assert "there is no model 'other:routed'" in one_line(result)


async def test_ask_tells_what_a_starting_server_does() -> None:
    status = WorkerStatus(state="starting", detail="compiling step 3 of 8")
    async with running(lambda g, p: "x", status=status) as server:
        result = await asyncio.to_thread(pollux, "ask", "hi", "--url", server.url)
    assert "compiling step 3 of 8" in one_line(result)


def test_the_live_view_grows_bars_and_ends_with_the_answer() -> None:
    out = io.StringIO()
    console = Console(force_terminal=True, color_system=None, width=100, file=out)
    with LiveView(console) as view:
        view.show({"type": "direct", "answer": "5"})
        view.show(
            {"type": "vote", "votes": {"4": 2, "7": 1}, "run": 4, "remaining": 0, "answer": None}
        )
        usage = {"completion_tokens": 9, "prompt_tokens": 7}
        choices = [{"message": {"content": "so [b]4[/b]"}}]
        view.summary({"uncertainty_routing": DECISION, "choices": choices, "usage": usage}, 1.25)
    text = out.getvalue()
    assert "direct answer: 5" in text
    assert "4 of 4 paths finished" in text
    assert "█" * 16 + "░" * 16 + "  2" in text
    assert "(no answer)" in text
    # What a model writes is shown as it is, never as markup.
    assert "so [b]4[/b]" in text
    assert "Answer: 4" in text
    assert "9 tokens sampled, 7 read, 1.2 s" in text


@pytest.mark.parametrize("route", get_args(Route))
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"on_disagreement": "best_effort"},
        {"limited_by": "deadline", "limited_to": 17},
        {"limited_by": "paths", "limited_to": 17},
        {"limited_by": "tokens", "limited_to": None},
        {"lossy": 0.005},
        {"voting": "group_confidence", "weights": {"y" * n: 0.25 for n in range(90, 95)}},
    ],
)
def test_the_outcome_fits_a_narrow_terminal(route: str, more: dict) -> None:
    samples = {"run": 10, "invalid": 10, "stopped": 32, "saved": 22}
    decision = {**DECISION, "route": route, "answer": "x" * 99, "k": 64, "min_votes": 39}
    lines = outcome({**decision, "consensus": [0.15, 0.85], "samples": samples, **more})
    assert max(map(len, lines)) <= 80
    assert "15% to 85%" in "".join(lines)
    assert len(lines) == 3 + bool(more.keys() - {"on_disagreement"})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"route": "abstain"}, "abstain: no answer is given: none reached 3 of 4 votes"),
        (
            {"route": "best_effort"},
            "best_effort: the most frequent answer, though short of 3 of 4 votes",
        ),
        (
            {"limited_by": "deadline", "limited_to": 2},
            "there was no more time: the 2 finished paths decided",
        ),
        ({"limited_by": "paths", "limited_to": 3}, "there were no more paths: 3 of 4 decided"),
        (
            {"limited_by": "tokens", "limited_to": None},
            "there were no more tokens for the text of an earlier path",
        ),
        (
            {"route": "greedy", "limited_by": "tokens", "limited_to": 0},
            "greedy: the direct answer: no path had finished",
        ),
        (
            {"route": "abstain", "limited_by": "deadline", "limited_to": 0},
            "abstain: no answer is given: no path had finished",
        ),
        ({"lossy": 0.01}, "likely, not certain: stopped at a risk of 1.00%"),
        (
            {"voting": "mean_logprob", "weights": {"4": 0.75, "5": 0.25}},
            "weighed by mean_logprob: 4 75%, 5 25%",
        ),
    ],
)
def test_the_outcome_is_told_in_plain_words(more: dict, said: str) -> None:
    assert said in outcome({**DECISION, **more})


async def test_ask_passes_on_what_it_is_given_and_shows_every_path() -> None:
    async with running(three_of_four) as server:
        result = await asyncio.to_thread(
            pollux, "ask", "2+2?", "--k", "4", "--tau", ".75", "--answer", "number",
            "--plan", "full", "--on-disagreement", "abstain", "--deadline", "60",
            "--show-paths", "--url", server.url,
        )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "--- path 1: 4\nPath 1 thinks. Answer: 4\n" in result.stdout
    assert "--- path 2: (none)\nI do not know.\n" in result.stdout
    assert "\nThe paths of reasoning did not agree enough" in result.stdout
    assert "\nAnswer: (none)\nabstain: no answer is given" in result.stdout


async def test_ask_weighs_and_tells_a_bad_combination_in_one_line() -> None:
    async with running(three_of_four) as server:
        result = await asyncio.to_thread(
            pollux, "ask", "2+2?", "--weighting", "mean_logprob", "--plan", "lossy",
            "--url", server.url,
        )  # fmt: skip
        assert "weighting needs every path" in one_line(result)
        result = await asyncio.to_thread(
            pollux, "ask", "2+2?", "--k", "4", "--weighting", "mean_logprob", "--url", server.url
        )
    assert result.exit_code == 0, result.stderr
    assert "\nweighed by mean_logprob: 4 " in result.stdout


def test_what_a_model_writes_never_commands_the_terminal() -> None:
    """\x1b[2J clears a screen, \x9b does the same in one character."""
    evil = "a\x1b[2Jb\x9bc\r\n"
    out = io.StringIO()
    with LineView(out, stream=True) as view:
        view.show({"type": "delta", "text": evil})
    assert out.getvalue() == "a\ufffd[2Jb\ufffdc\ufffd\n"

    out = io.StringIO()
    console = Console(force_terminal=True, color_system=None, width=80, file=out)
    with LiveView(console) as view:
        view.show({"type": "direct", "answer": evil})
        vote = {"type": "vote", "votes": {evil: 2}, "run": 1, "remaining": 3}
        view.show({**vote, "answer": evil})
        choices = [{"message": {"content": evil}}]
        usage = {"completion_tokens": 9, "prompt_tokens": 7}
        decision = {**DECISION, "answer": evil}
        view.summary({"uncertainty_routing": decision, "choices": choices, "usage": usage}, 1.0)
    assert "a\x1b[2J" not in out.getvalue()
    assert "\x9b" not in out.getvalue()


def test_an_interrupted_answer_leaves_the_prompt_on_a_line_of_its_own() -> None:
    out = io.StringIO()
    view = LineView(out, stream=True)
    view.__enter__()
    view.show({"type": "delta", "text": "half a sen"})
    view.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert out.getvalue() == "half a sen\n"


SERVER = """
import asyncio, sys
from service.commands.serve import bind, run
from tests.scripted import ScriptedWorker
from tests.service.support import MODEL, ScriptedBackend, card, settings_of, tiny_text

async def slow():
    await asyncio.sleep(0.01)

text = tiny_text()
settings = settings_of()
backend = ScriptedBackend(ScriptedWorker(lambda g, p: "word " * 20, pace=slow), text, card(text))
status = run(settings, backend, MODEL, bind(settings))
assert backend.stopped == 1
sys.exit(status)
"""


async def test_sigterm_lets_running_requests_finish() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, cwd=ROOT, stderr=subprocess.PIPE
    )
    banner = (await process.stderr.readline()).decode()
    url = banner.split()[-1]
    assert banner.startswith(f"Pollux serves {MODEL} at http://127.0.0.1:")
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "stream": True}
    text = ""
    async with (
        httpx.AsyncClient() as http,
        http.stream("POST", f"{url}/v1/chat/completions", json=body) as reply,
    ):
        async for line in reply.aiter_lines():
            text += line
            if "word" in line and text.count("word") == 1:
                process.send_signal(signal.SIGTERM)
    assert text.count("word") == 20
    assert text.endswith("[DONE]")
    await process.stderr.read()
    assert await process.wait() == 0


FAILING = """
import sys
from model.contract import WorkerStatus
from service.commands.serve import bind, run
from tests.scripted import ScriptedWorker
from tests.service.support import MODEL, ScriptedBackend, card, settings_of, tiny_text

text = tiny_text()
settings = settings_of()
status = WorkerStatus(state="failed", detail="the device has no memory left")
backend = ScriptedBackend(ScriptedWorker(lambda g, p: ""), text, card(text), status)
sys.exit(run(settings, backend, MODEL, bind(settings)))
"""


def test_a_model_that_fails_to_load_ends_the_server_with_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-c", FAILING], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[1:] == ["pollux: the device has no memory left"]


@pytest.mark.parametrize(
    ("installed", "device", "set_to", "left"),
    [
        ({"libtpu"}, None, None, "cpu"),
        ({"libtpu"}, "accel0", None, None),
        ({"libtpu"}, "vfio/0", None, None),
        ({"libtpu", "jax_plugins"}, None, None, None),
        ({"libtpu"}, None, "tpu", "tpu"),
        (set(), None, None, None),
    ],
)
def test_a_tpu_is_looked_for_only_where_one_may_be(
    installed, device, set_to, left, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: name in installed or None)
    monkeypatch.delenv("JAX_PLATFORMS")
    if set_to is not None:
        monkeypatch.setenv("JAX_PLATFORMS", set_to)
    if device is not None:
        (tmp_path / device).parent.mkdir(exist_ok=True)
        (tmp_path / device).touch()
    checkpoint.skip_absent_tpu(tmp_path)
    assert os.environ.get("JAX_PLATFORMS") == left


def test_the_calibration_that_speaks_for_a_question_is_named() -> None:
    assert "calibration 0123 speaks for this question" in outcome(
        {**DECISION, "calibration": "0123"}
    )
    assert not any("calibration" in line for line in outcome(DECISION))
