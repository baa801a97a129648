"""`pollux calibrate --from-record`: what a record tells, without any model."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

import service.cli
from routing.calibration.artefact import load
from routing.calibration.overview import overview
from routing.calibration.replays import PLANS
from routing.records import RecordedQuestion
from service.commands.calibration_view import CalibrationView
from service.evaluation.journal import Recording
from tests.routing.calibration.recorded import record
from tests.routing.calibration.test_artefact import SETUP

ROOT = Path(__file__).parents[2]

RECORDING = Recording(setup=SETUP, k=8, seed=0)


def write(path: Path, questions: list[RecordedQuestion]) -> Path:
    path.write_bytes(b"".join(msgspec.json.encode(q) + b"\n" for q in questions))
    return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("record") / "record.jsonl", record(60, 10))


def calibrate(*arguments: object, stdin: bytes | None = None) -> Any:
    return CliRunner().invoke(service.cli.app, ["calibrate", *map(str, arguments)], input=stdin)


def refused(*arguments: object, stdin: bytes | None = None, status: int) -> str:
    result = calibrate(*arguments, stdin=stdin)
    line = str(result.stderr).strip()
    assert result.exit_code == status, line
    assert "\n" not in line
    assert line.startswith("pollux: ")
    assert result.stdout == ""
    return line


def test_json_has_plans_and_accuracy(recorded: Path) -> None:
    result = calibrate("--from-record", recorded, "--k", 8, "--tau", "0.6", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert {name: found[name] for name in ("k", "tau", "min_votes", "questions")} == {
        "k": 8,
        "tau": 0.6,
        "min_votes": 5,
        "questions": 60,
    }
    assert list(found["plans"]) == list(PLANS)
    for name, plan in found["plans"].items():
        assert plan.keys() == {"mean_paths", "mean_tokens", "changed_answers", "changed_routes"}
        if name != "lossy":
            assert plan["changed_answers"] == plan["changed_routes"] == 0
    assert found["plans"]["full"]["mean_paths"] == 8
    assert found["accuracy"].keys() >= {"greedy", "majority", "routed"}
    assert all(0 <= share <= 1 for share in found["accuracy"].values())


def test_text_says_what_all_paths_and_every_plan_give(recorded: Path) -> None:
    result = calibrate("--from-record", recorded, "--k", 8, "--min-votes", 5)
    assert result.exit_code == 0, result.stderr
    assert "60 questions, 8 paths each; an answer needs 5 votes." in result.stdout
    assert "All 8 paths: " in result.stdout
    for name in (*PLANS, "greedy", "majority", "routed"):
        assert f"\n{name} " in result.stdout
    assert "\x1b" not in result.stdout


def test_a_terminal_gets_a_ruled_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    out = io.StringIO()
    view = CalibrationView(out)
    view.overview(overview(record(10, 4), 4, 3, 0.6))
    assert "─" in out.getvalue()
    assert "greedy_first" in out.getvalue()


def test_k_is_by_default_what_every_question_has(tmp_path: Path) -> None:
    asked = [*record(3, 9), msgspec.structs.replace(record(1, 5)[0], id="short")]
    result = calibrate("--from-record", write(tmp_path / "r", asked), "--json")
    found = json.loads(result.stdout)
    assert (found["k"], found["tau"], found["min_votes"]) == (5, 0.6, 4)


def test_tau_is_the_decimal_as_written(tmp_path: Path) -> None:
    file = write(tmp_path / "r", record(2, 100))
    found = json.loads(calibrate("--from-record", file, "--tau", "0.29", "--json").stdout)
    assert (found["k"], found["min_votes"]) == (100, 30)


def test_standard_input_is_read(recorded: Path) -> None:
    piped = calibrate("--from-record", "-", "--json", stdin=recorded.read_bytes())
    assert piped.exit_code == 0, piped.stderr
    assert piped.stdout == calibrate("--from-record", recorded, "--json").stdout


def test_without_known_answers_accuracy_is_empty(tmp_path: Path) -> None:
    asked = [msgspec.structs.replace(q, answer=None) for q in record(5, 4)]
    file = write(tmp_path / "r", asked)
    assert json.loads(calibrate("--from-record", file, "--json").stdout)["accuracy"] == {}
    assert "No question has a known answer" in calibrate("--from-record", file).stdout
    line = refused("--from-record", file, "--out", tmp_path / "out", status=1)
    assert "no question has a known answer" in line


def test_some_unknown_answers_are_left_out_of_accuracy_alone(tmp_path: Path) -> None:
    asked = record(20, 4)
    some = [msgspec.structs.replace(q, answer=None) for q in asked[:10]] + asked[10:]
    found = json.loads(calibrate("--from-record", write(tmp_path / "r", some), "--json").stdout)
    only = json.loads(
        calibrate("--from-record", write(tmp_path / "s", asked[10:]), "--json").stdout
    )
    assert found["questions"] == 20
    assert found["accuracy"] == only["accuracy"]


@pytest.mark.parametrize(
    ("flags", "status", "named"),
    [
        (["--k", 0], 2, "--k"),
        (["--k", 11], 1, "10 paths recorded, 11 asked for"),
        (["--tau", "1.2"], 2, "--tau"),
        (["--tau", "-0.1"], 2, "--tau"),
        (["--tau", "half"], 2, "--tau"),
        (["--tau", "nan"], 2, "--tau"),
        (["--tau", ".5", "--min-votes", 3], 2, "not both"),
        (["--min-votes", 0], 2, "--min-votes"),
        (["--min-votes", 12], 2, "--min-votes"),
        (["--epsilon", "1"], 2, "--epsilon"),
        (["--epsilon", "nan"], 2, "--epsilon"),
        (["--alpha", "0"], 2, "--alpha"),
        (["--delta", "1.5"], 2, "--delta"),
        (["--path-weight", "-1"], 2, "--path-weight"),
        (["--seed", "-1"], 2, "--seed"),
    ],
)
def test_a_bad_flag_is_one_line(
    recorded: Path, flags: list[object], status: int, named: str
) -> None:
    assert named in refused("--from-record", recorded, *flags, status=status)


def test_without_a_source_the_usage_is_one_line() -> None:
    assert "--from-record" in refused(status=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no questions"),
        (b"{\n", "line 1"),
        (b'{"id": 1, "answer": null, "greedy": null, "paths": []}', "line 1: no path"),
        (b"\x00" * 100, "line 1"),
    ],
)
def test_a_file_that_is_no_record_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "r"
    file.write_bytes(content)
    line = refused("--from-record", file, status=1)
    assert message in line
    assert str(file) in line
    assert "standard input" in refused("--from-record", "-", stdin=content, status=1)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert "No such file" in refused("--from-record", tmp_path / "none", status=1)
    assert "directory" in refused("--from-record", tmp_path, status=1)


def test_out_writes_a_report_and_with_a_setup_the_artefact(tmp_path: Path, recorded: Path) -> None:
    out = tmp_path / "deep" / "out"
    bare = calibrate("--from-record", recorded, "--out", out)
    assert bare.exit_code == 0, bare.stderr
    assert [file.name for file in out.iterdir()] == ["report.html"]
    assert "no setup.json" in bare.stderr
    assert "Routing" in bare.stdout or "routing" in bare.stdout

    (out / "setup.json").write_bytes(msgspec.json.encode(RECORDING))
    full = calibrate("--from-record", recorded, "--out", out)
    assert full.exit_code == 0, full.stderr
    made = load(out / "calibration.json")
    assert made.setup == SETUP
    assert made.questions == 60
    assert sorted(file.name for file in out.iterdir()) == [
        "calibration.json",
        "report.html",
        "setup.json",
    ]
    assert SETUP.model in (out / "report.html").read_text()


def test_the_setup_may_lie_beside_the_record(tmp_path: Path) -> None:
    file = write(tmp_path / "r.jsonl", record(40, 4))
    (tmp_path / "setup.json").write_bytes(msgspec.json.encode(RECORDING))
    result = calibrate("--from-record", file, "--out", tmp_path / "out", "--tau", "0.5", "--json")
    assert result.exit_code == 0, result.stderr
    assert (json.loads(result.stdout)["k"], json.loads(result.stdout)["tau"]) == (4, 0.5)
    made = load(tmp_path / "out" / "calibration.json")
    assert (made.k, made.min_votes) == (4, 3)


def test_what_is_shown_with_a_chosen_setting_is_of_questions_that_did_not_choose_it(
    tmp_path: Path, recorded: Path
) -> None:
    result = calibrate("--from-record", recorded, "--out", tmp_path)
    reported = [line for line in result.stdout.splitlines() if line.startswith("Right, of")]
    assert reported != ["Right, of 60 questions:"]


@pytest.mark.parametrize("content", [b"{", b"{}", b"\xff", b"[" * 100_000])
def test_a_setup_that_is_none_is_one_line(tmp_path: Path, recorded: Path, content: bytes) -> None:
    (tmp_path / "setup.json").write_bytes(content)
    assert "setup.json" in refused("--from-record", recorded, "--out", tmp_path, status=1)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, recorded: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert str(blocked) in refused("--from-record", recorded, "--out", blocked, status=1)


def test_no_model_is_loaded_and_no_jax(recorded: Path) -> None:
    code = (
        "import sys; from service.cli import app\n"
        "try: app()\n"
        "finally: assert not {'jax', 'fastapi'} & set(sys.modules), 'loaded'\n"
    )
    arguments = ["calibrate", "--from-record", str(recorded), "--json"]
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["k"] == 10
