"""How commands speak: one line on standard error, and an exit status that says whose fault."""

import logging
import os
import sys
from typing import Any, NoReturn

import typer
from pydantic import ValidationError

from service.logs.setup import configure, tell
from service.settings import Settings

FAILED = 1
MISUSED = 2


def fail(message: object, status: int = FAILED) -> NoReturn:
    line = " ".join(str(message).split())
    if not tell(line, logging.ERROR):
        sys.stderr.write(f"pollux: {line}\n")
    raise typer.Exit(status)


def say(line: str) -> None:
    if not tell(line):
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def settings_from(**flags: Any) -> Settings:
    """Flags that were given win over `POLLUX_*` variables. Ends the command on a bad value."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        if given.get("log_format", os.environ.get("POLLUX_LOG_FORMAT")) == "json":
            configure(Settings.model_construct(log_format="json"))
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "settings"
        fail(f"{name} (--{name.replace('_', '-')}, POLLUX_{name.upper()}): {first['msg']}", MISUSED)
