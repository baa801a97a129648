"""`pollux eval`: how often each way of answering is right, and what it costs."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from routing.calibration.arms import ARMS, CannotJudge, trials
from routing.policy import RoutingPolicy
from routing.records import RecordedQuestion
from service.commands import options
from service.commands import recording_options as flags
from service.commands.console import MISUSED, fail, settings_from

if TYPE_CHECKING:
    from routing.calibration.recorder import Wanted
    from routing.calibration.scores import Score

DEFAULT_ARMS = "greedy,cot,majority,routed"
FOLDER = Path("pollux-eval")


@options.with_engine_flags
def evaluate(
    *,
    engine: dict[str, Any],
    data: flags.Data,
    arms: Annotated[str, typer.Option(help=f"Any of {', '.join(ARMS)}.")] = DEFAULT_ARMS,
    k: Annotated[int, typer.Option(help="Paths of a vote.")] = 16,
    tau: Annotated[
        str, typer.Option(help="An answer needs more than this share of the paths.")
    ] = "0.6",
    answer: flags.Answer = "auto",
    limit: flags.Limit = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to record in; the same command goes on with what is there."),
    ] = None,
    temperature: flags.Temperature = flags.TEMPERATURE,
    top_p: flags.TopP = flags.TOP_P,
    max_tokens: flags.MaxTokens = None,
    constrain: flags.Constrain = False,
    system: flags.System = "",
    seed: flags.Seed = 0,
    parallel: flags.Parallel = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    redis: flags.Redis = None,
) -> None:
    """Measure accuracy with intervals, invalid answers, tokens and seconds on your questions."""
    wanted_arms = arms_of(arms)
    policy = flags.policy_of(
        k=k,
        tau=tau,
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
    from service.commands.serve import make_backend
    from service.evaluation.session import questions_from, record_dataset

    questions = questions_from(data, limit)
    if all(question.answer is None for question in questions):
        fail(f"{data}: no question has an answer to compare with", MISUSED)
    backend, name = make_backend(settings)
    folder = out or FOLDER / f"{data.stem}-{Path(name).name}"
    began = time.monotonic()
    recorded = record_dataset(
        settings,
        backend,
        questions,
        policy,
        wanted_of(wanted_arms, k),
        folder=folder,
        seed=seed,
        parallel=parallel,
        system=system,
    )
    seconds = time.monotonic() - began
    scores = scores_of(wanted_arms, recorded.questions, policy)
    result = {
        "model": name,
        "data": data.name,
        "k": k,
        "tau": policy.share,
        "min_votes": policy.threshold,
        "answer": policy.answer.model_dump(mode="json", by_alias=True),
        "setup": recorded.recording.setup.digest,
        "questions": len(recorded.questions),
        "run_seconds": round(seconds, 3),
        "arms": {found.arm: _numbers(found) for found in scores},
    }
    text = json.dumps(result, indent=2)
    (folder / "results.json").write_text(text + "\n")
    if as_json:
        sys.stdout.write(text + "\n")
        return
    from service.commands.score_view import show_scores

    show_scores(scores, f"{name} on {data.name}: k {k}, {policy.threshold} votes to win", folder)


def arms_of(text: str) -> list[str]:
    arms = [arm.strip() for arm in text.split(",") if arm.strip()]
    unknown = [arm for arm in arms if arm not in ARMS]
    if unknown or not arms:
        fail(f"--arms: {', '.join(unknown) or 'none'}; there are {', '.join(ARMS)}", MISUSED)
    return list(dict.fromkeys(arms))


def wanted_of(arms: list[str], k: int) -> "Wanted":
    from routing.calibration.recorder import Wanted

    polled = set(arms) - {"greedy", "cot"}
    weighted = polled - {"path", "majority", "routed"}
    return Wanted(k=k if polled else 0, cot="cot" in arms, confidence=bool(weighted))


def scores_of(
    arms: list[str], questions: list[RecordedQuestion], policy: RoutingPolicy
) -> "list[Score]":
    from routing.calibration.scores import score

    per_token = seconds_per_token(questions)
    try:
        return [
            score(arm, trials(arm, questions, policy.k, policy.threshold), per_token)
            for arm in arms
        ]
    except CannotJudge as error:
        fail(error)


def seconds_per_token(questions: list[RecordedQuestion]) -> float | None:
    """Time that a token takes while the machine is as busy as the recording keeps it."""
    busy = [question.busy_seconds for question in questions]
    tokens = sum(question.all_tokens for question in questions)
    if None in busy or not tokens:
        return None
    return sum(seconds for seconds in busy if seconds is not None) / tokens


def _numbers(found: "Score") -> dict[str, Any]:
    return {name: value for name, value in asdict(found).items() if name != "arm"}
