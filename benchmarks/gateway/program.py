"""The gateway over the scripted worker, as `pollux serve` runs it. A process of its own."""

from typing import Annotated

import typer
import uvicorn
from pydantic import SecretStr

from benchmarks.gateway.scripted import MODEL, ScriptedBackend
from service.app import create_app
from service.commands.serve import bind
from service.logs.setup import configure
from service.server import server_config
from service.settings import Settings

KEY = "a-key-of-the-benchmark"
MOST = 4096
"""Requests at once, far above what is sent: nothing may be refused."""


def main(
    port: Annotated[int, typer.Argument()],
    pace: Annotated[float, typer.Option(help="Seconds between steps.")] = 0.0,
    *,
    answers: Annotated[bool, typer.Option("--answers")] = False,
    keys: Annotated[bool, typer.Option("--keys")] = False,
    access_log: Annotated[bool, typer.Option("--access-log")] = False,
) -> None:
    settings = Settings(
        model=MODEL,
        port=port,
        log_level="info" if access_log else "warning",
        api_keys=SecretStr(f"bench={KEY}") if keys else None,
        max_requests=MOST,
        max_paths=32 * MOST,
        max_connections=MOST,
        socket_first_message_timeout=600.0,
    )
    configure(settings)
    app = create_app(settings, ScriptedBackend(pace, answers=answers))
    with bind(settings) as listener:
        uvicorn.Server(server_config(app, settings)).run(sockets=[listener])


if __name__ == "__main__":
    typer.run(main)
