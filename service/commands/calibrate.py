"""`pollux calibrate`: choose k and the threshold from recorded polls, and say what to expect."""

import datetime
import json as json_format
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.commands import options
from service.commands import recording_options as flags
from service.commands.console import MISUSED, fail, say, settings_from
from service.settings import Settings

if TYPE_CHECKING:
    from routing.calibration.overview import Overview
    from routing.calibration.setup import Setup
    from routing.calibration.study import Study
    from routing.policy import RoutingPolicy
    from routing.records import RecordedQuestion
    from service.evaluation.session import Recorded

REPORT, ARTEFACT, SETUP = "report.html", "calibration.json", "setup.json"


@dataclass(frozen=True)
class Wishes:
    """The flags of the analysis, as given. seed: of the split."""

    k: int | None
    tau: str | None
    min_votes: int | None
    epsilon: float
    alpha: float
    delta: float
    path_weight: float
    seed: int
    json: bool

    @property
    def has_threshold(self) -> bool:
        return self.tau is not None or self.min_votes is not None


@options.with_engine_flags
def calibrate(
    *,
    engine: dict[str, Any],
    from_record: Annotated[
        str | None, typer.Option(help="File of recorded polls to analyse; - reads standard input.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help=f"Folder for {REPORT} and {ARTEFACT}: chooses, and reports.")
    ] = None,
    k: Annotated[
        int | None, typer.Option(help="Paths per question; default: as many as all have.")
    ] = None,
    tau: Annotated[
        str | None, typer.Option(help="An answer needs more than this share of the paths.")
    ] = None,
    min_votes: Annotated[
        int | None, typer.Option(help="Votes an answer needs, instead of tau.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(help="Risk that the lossy plan takes of another answer.")
    ] = 0.01,
    alpha: Annotated[float, typer.Option(help="Error rate to certify among majorities.")] = 0.05,
    delta: Annotated[float, typer.Option(help="Risk that a guarantee is wrong.")] = 0.05,
    path_weight: Annotated[
        float, typer.Option(help="Accuracy that one more path must be worth to be chosen.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the split into halves, and of the paths.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Questions to record and analyse, as JSON lines.")
    ] = None,
    k_max: Annotated[int, typer.Option(min=1, help="Paths to record of each question.")] = 32,
    answer: flags.Answer = "auto",
    limit: flags.Limit = None,
    temperature: flags.Temperature = flags.TEMPERATURE,
    top_p: flags.TopP = flags.TOP_P,
    max_tokens: flags.MaxTokens = None,
    constrain: flags.Constrain = False,
    system: flags.System = "",
    parallel: flags.Parallel = None,
    redis: flags.Redis = None,
) -> None:
    """Say what routing is worth on your questions: plans, accuracy, the best threshold.

    With --data and --out it asks the questions first (and goes on where it was interrupted);
    with --from-record it reads what was recorded before, and needs no model.
    """
    wishes = Wishes(k, tau, min_votes, epsilon, alpha, delta, path_weight, seed, json)
    _check(wishes)
    if (from_record is None) == (data is None):
        fail(
            "give --data FILE with --out FOLDER, to ask the questions, or --from-record FILE, "
            "to read recorded polls",
            MISUSED,
        )
    if from_record is not None:
        analyse(from_record, out, wishes)
        return
    assert data is not None
    if out is None:
        fail("--data needs --out FOLDER, to record in", MISUSED)
    policy = flags.policy_of(
        k=k_max,
        answer=answer,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        constrain=constrain,
    )
    settings = settings_from(
        **engine,
        redis=redis,
    )
    recorded = record(
        settings, data, policy, out, limit=limit, seed=seed, parallel=parallel, system=system
    )
    _choose(recorded.questions, out, recorded.recording.setup, wishes)


def record(
    settings: Settings,
    data: Path,
    policy: "RoutingPolicy",
    out: Path,
    *,
    limit: int | None,
    seed: int,
    parallel: int | None,
    system: str,
) -> "Recorded":
    """Everything that an analysis can use, of each question that is not in the folder yet."""
    from routing.calibration.recorder import Wanted
    from service.commands.serve import make_backend
    from service.evaluation.session import questions_from, record_dataset

    questions = questions_from(data, limit)
    if all(question.answer is None for question in questions):
        fail(f"{data}: no question has an answer to compare with", MISUSED)
    backend, _ = make_backend(settings)
    return record_dataset(
        settings,
        backend,
        questions,
        policy,
        Wanted(k=policy.k, cot=True),
        folder=out,
        seed=seed,
        parallel=parallel,
        system=system,
    )


def analyse(record: str, out: Path | None, wishes: Wishes) -> None:
    """Prints what the record tells; with a folder, also chooses and writes there."""
    questions = read_record(record)
    if out is None:
        _show(_overview(questions, wishes), wishes)
    else:
        _choose(questions, out, read_setup([out, *_beside(record)]), wishes)


def _overview(questions: "Sequence[RecordedQuestion]", wishes: Wishes) -> "Overview":
    from routing.calibration.from_record import shortest
    from routing.calibration.overview import overview
    from routing.policy import DEFAULT_TAU, exact_tau

    k = shortest(questions) if wishes.k is None else wishes.k
    _enough_paths(questions, k)
    tau = None
    if wishes.min_votes is None:
        tau = float(DEFAULT_TAU if wishes.tau is None else exact_tau(wishes.tau))
    return overview(questions, k, _min_votes(wishes, k), tau, wishes.epsilon)


def _choose(
    questions: "Sequence[RecordedQuestion]", out: Path, setup: "Setup | None", wishes: Wishes
) -> None:
    from routing.calibration.from_record import shortest
    from routing.calibration.overview import overview_of
    from routing.calibration.study import Aims, study
    from routing.policy import MAX_K, exact_tau

    k = wishes.k
    if wishes.has_threshold and k is None:
        k = min(shortest(questions), MAX_K)
    if k is not None:
        if k > MAX_K:
            fail(f"--k with --out must be at most {MAX_K}, the most a server polls", MISUSED)
        _enough_paths(questions, k)
    aims = Aims(
        k=k,
        min_votes=_min_votes(wishes, k) if wishes.has_threshold and k is not None else None,
        path_weight=wishes.path_weight,
        alpha=wishes.alpha,
        delta=wishes.delta,
        seed=wishes.seed,
        epsilon=wishes.epsilon,
    )
    try:
        found = study(questions, aims)
    except ValueError as error:
        fail(error)
    files = _write(found, out, setup)
    tau = float(exact_tau(wishes.tau)) if wishes.tau is not None else None
    _show(overview_of(found, tau), wishes, found)
    say("wrote " + " and ".join(map(str, files)))
    if setup is None:
        say(f"no {SETUP} beside the record or in {out}: without it no {ARTEFACT} is written")


def _show(found: "Overview", wishes: Wishes, study: "Study | None" = None) -> None:
    if wishes.json:
        sys.stdout.write(json_format.dumps(found.to_json()) + "\n")
        return
    from service.commands.calibration_view import CalibrationView

    view = CalibrationView(sys.stdout)
    view.overview(found)
    if study is not None:
        view.findings(study)


def _write(study: "Study", out: Path, setup: "Setup | None") -> list[Path]:
    """The report, and the artefact if it is known what was calibrated."""
    from routing.calibration.adopted import artefact
    from routing.calibration.artefact import encode
    from routing.calibration.report import report

    now = datetime.datetime.now(datetime.UTC)
    contents = {REPORT: report(study, setup, f"{now:%Y-%m-%d}").encode()}
    if setup is not None:
        contents[ARTEFACT] = encode(artefact(study, setup, now))
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            # A reader sees the old file or the new one, never a half.
            unfinished = out / f".{name}.part"
            unfinished.write_bytes(content)
            unfinished.replace(out / name)
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror or error}")
    return [out / name for name in contents]


def read_record(record: str) -> "list[RecordedQuestion]":
    """Ends the command on what is no record."""
    from routing.calibration.from_record import read
    from routing.records import BadRecord

    name = "standard input" if record == "-" else record
    try:
        if record == "-":
            return read(sys.stdin.buffer)
        with Path(record).open("rb") as file:
            return read(file)
    except BadRecord as error:
        fail(f"{name}: {error}")
    except (OSError, ValueError) as error:  # a path with a NUL is a ValueError
        fail(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}")


def read_setup(folders: Sequence[Path]) -> "Setup | None":
    """Of the first folder that says what was recorded. Ends the command on a broken file."""
    from service.evaluation.journal import OtherRecording, read_recording

    for folder in folders:
        try:
            return read_recording(folder).setup
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, OtherRecording) as error:
            fail(error)
    return None


def _beside(record: str) -> list[Path]:
    return [] if record == "-" else [Path(record).parent]


def _check(wishes: Wishes) -> None:
    from routing.policy import exact_tau

    if wishes.tau is not None:
        try:
            exact_tau(wishes.tau)
        except ValueError as error:
            fail(f"--tau: {error}", MISUSED)
    if wishes.tau is not None and wishes.min_votes is not None:
        fail("give --tau or --min-votes, not both", MISUSED)
    if wishes.k is not None and wishes.k < 1:
        fail(f"--k must be at least 1, got {wishes.k}", MISUSED)
    if not 0 <= wishes.epsilon < 1:
        fail(f"--epsilon must be at least 0 and below 1, got {wishes.epsilon}", MISUSED)
    for name, share in (("alpha", wishes.alpha), ("delta", wishes.delta)):
        if not 0 < share < 1:
            fail(f"--{name} must be between 0 and 1, got {share}", MISUSED)
    if not 0 <= wishes.path_weight <= 1:
        fail(f"--path-weight must be between 0 and 1, got {wishes.path_weight}", MISUSED)
    if wishes.seed < 0:
        fail(f"--seed must not be negative, got {wishes.seed}", MISUSED)


def _min_votes(wishes: Wishes, k: int) -> int:
    from routing import stopping
    from routing.policy import DEFAULT_TAU, exact_tau

    if wishes.min_votes is None:
        return stopping.min_votes(k, DEFAULT_TAU if wishes.tau is None else exact_tau(wishes.tau))
    if not 1 <= wishes.min_votes <= k + 1:
        fail(f"--min-votes must be between 1 and k + 1 = {k + 1}, got {wishes.min_votes}", MISUSED)
    return wishes.min_votes


def _enough_paths(questions: "Sequence[RecordedQuestion]", k: int) -> None:
    for question in questions:
        if len(question.paths) < k:
            fail(f"question {question.id!r}: {len(question.paths)} paths recorded, {k} asked for")
