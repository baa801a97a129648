"""Flags that `pollux eval` and `pollux calibrate` share: what is asked, and how."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from routing.policy import RoutingPolicy
from service.commands.console import MISUSED, fail

Answer = Annotated[
    str, typer.Option(help='What votes: auto, number, choice, ..., or a JSON object {"type": ...}.')
]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")]
Temperature = Annotated[float, typer.Option(help="Of the paths.")]
TopP = Annotated[float, typer.Option(help="Of the paths.")]
MaxTokens = Annotated[int | None, typer.Option(help="Longest path.")]
System = Annotated[str, typer.Option(help="A system message before every question.")]
Constrain = Annotated[
    bool, typer.Option("--constrain", help="Hold final lines to a form that can be read.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the paths.")]
Parallel = Annotated[int | None, typer.Option(min=1, help="Questions at a time.")]
Redis = Annotated[str | None, typer.Option(help="Ask the workers at this broker.")]
Data = Annotated[
    Path, typer.Option(help="Questions, as JSON lines: id, question, answer, choices.")
]

TEMPERATURE, TOP_P = 0.7, 0.95


def policy_of(*, answer: str, **fields: Any) -> RoutingPolicy:
    """The vote that the flags describe. Ends the command on a bad value."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        described = json.loads(answer) if answer.lstrip().startswith("{") else answer
    except ValueError:
        fail("--answer is neither the name of an extractor nor a JSON object", MISUSED)
    try:
        return RoutingPolicy.model_validate({**given, "answer": described})
    except ValidationError as error:
        first = error.errors()[0]
        fail(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}", MISUSED)
