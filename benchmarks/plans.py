"""What each plan of a routed question costs and how long it takes, against running all k paths.

    python -m benchmarks.plans [--model smollm2-135m-instruct] [--questions 12] [--k 16] [--busy 1]

The same questions with the same seeds go through every plan, in the engine of this process with
its prefix cache off, so the answers of lossless plans must be those of `full`: the last column
counts those that are not. busy: questions in flight at once; one is how a lone caller sees it,
more is how a server is used.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from model.text.language import ChatMessage
from routing.events import RouteEvent, Shown
from routing.policy import RoutingPolicy
from routing.router import route
from service.api.internal import Ask, Chat
from service.api.planning import Served
from service.api.routed import plan_routed
from service.commands.serve import make_backend
from service.evaluation.recording import running
from service.settings import Settings
from service.workers.base import Backend

PLANS = ("full", "greedy_first", "throughput", "latency", "lossy")
TEMPLATES = (
    "A box holds {a} pencils. Mia has {b} boxes and gives away {c} pencils. How many has she left?",
    "A train has {b} cars with {a} seats each. {c} seats are taken. How many are free?",
    "Leo saves {a} coins a week for {b} weeks and then spends {c}. How many coins has he?",
    "A farmer plants {b} rows of {a} trees. {c} of them die. How many trees are left?",
)


@dataclass(frozen=True)
class Row:
    """Means per question: seconds, sampled tokens, paths that ran, were stopped, never started.

    changed: questions whose answer is not that of `full`.
    """

    plan: str
    seconds: float
    tokens: float
    run: float
    stopped: float
    saved: float
    changed: int


def main(
    model: Annotated[str, typer.Option(help="Catalogue name, GGUF file or folder.")] = (
        "smollm2-135m-instruct"
    ),
    questions: Annotated[int, typer.Option(help="How many, made up with a fixed seed.")] = 12,
    k: Annotated[int, typer.Option(help="Paths.")] = 16,
    tau: Annotated[float, typer.Option(help="Threshold.")] = 0.6,
    busy: Annotated[int, typer.Option(help="Questions in flight at once.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers here.")
    ] = None,
) -> None:
    """Compare the plans of routed questions."""
    settings = Settings(model=model, prefix_cache=False)
    backend, name = make_backend(settings)
    console = Console(width=100)
    rows = asyncio.run(_measure(settings, backend, _texts(questions), k, tau, busy, console))
    console.print(_table(rows, f"{name}: {questions} questions, k {k}, tau {tau}, {busy} at once"))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def _texts(count: int) -> list[str]:
    rng = random.Random(1)
    return [
        TEMPLATES[index % len(TEMPLATES)].format(
            a=rng.randint(3, 12), b=rng.randint(3, 9), c=rng.randint(1, 8)
        )
        for index in range(count)
    ]


async def _measure(
    settings: Settings,
    backend: Backend,
    texts: list[str],
    k: int,
    tau: float,
    busy: int,
    console: Console,
) -> list[Row]:
    rows: list[Row] = []
    reference: list[str | None] = []
    async with running(backend, lambda line: console.print(f"[dim]{line}[/dim]")) as served:
        for plan in PLANS:
            policy = RoutingPolicy.model_validate(
                {"k": k, "tau": tau, "answer": "number", "plan": plan, "max_tokens": 256}
            )
            with console.status(f"{plan}: {len(texts)} questions"):
                outcomes = await _ask_all(settings, backend, served, texts, policy, busy)
            shown = [outcome for outcome, _ in outcomes]
            answers = [outcome.decision.answer for outcome in shown]
            reference = reference or answers
            samples = [outcome.decision.samples for outcome in shown]
            rows.append(
                Row(
                    plan=plan,
                    seconds=_mean([seconds for _, seconds in outcomes]),
                    tokens=_mean([outcome.usage.completion_tokens for outcome in shown]),
                    run=_mean([sample.run for sample in samples]),
                    stopped=_mean([sample.stopped for sample in samples]),
                    saved=_mean([sample.saved for sample in samples]),
                    changed=sum(a != b for a, b in zip(answers, reference, strict=True)),
                )
            )
    return rows


async def _ask_all(
    settings: Settings,
    backend: Backend,
    served: Served,
    texts: list[str],
    policy: RoutingPolicy,
    busy: int,
) -> list[tuple[Shown, float]]:
    slots = asyncio.Semaphore(busy)

    async def ask(index: int, text: str) -> tuple[Shown, float]:
        asked = policy.model_copy(update={"seed": index})
        chat = Chat((ChatMessage(role="user", content=text),))
        plan = plan_routed(
            Ask(model=served.card.name, input=chat, routing=asked), asked, served, settings
        )
        async with slots:
            began = time.perf_counter()
            events = route(plan.question, plan.policy, backend.worker, plan.id)
            return await _last(events), time.perf_counter() - began

    return await asyncio.gather(*(ask(index, text) for index, text in enumerate(texts)))


async def _last(events: AsyncGenerator[RouteEvent]) -> Shown:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Shown):
                return event
    raise AssertionError("a routed question ends with what is shown")


def _mean(values: list[int] | list[float]) -> float:
    return sum(values) / len(values)


def _table(rows: list[Row], title: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False)
    for column in ("plan", "s", "x full", "tokens", "x full", "run", "stopped", "saved", "changed"):
        table.add_column(column, justify="left" if column == "plan" else "right")
    full = rows[0]
    for row in rows:
        table.add_row(
            row.plan,
            f"{row.seconds:.2f}",
            f"{row.seconds / full.seconds:.2f}",
            f"{row.tokens:.0f}",
            f"{row.tokens / full.tokens:.2f}",
            f"{row.run:.1f}",
            f"{row.stopped:.1f}",
            f"{row.saved:.1f}",
            str(row.changed),
        )
    return table


if __name__ == "__main__":
    typer.run(main)
