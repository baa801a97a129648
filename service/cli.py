"""The `pollux` command."""

from typing import Annotated

import typer

from service.commands.ask import ask
from service.commands.calibrate import calibrate
from service.commands.evaluate import evaluate
from service.commands.keys import keys
from service.commands.models import models
from service.commands.serve import serve
from service.commands.worker import worker

app = typer.Typer(
    name="pollux",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Serve a model, poll paths of reasoning, answer with what they agree on.",
)
app.command()(serve)
app.command()(ask)
app.command("eval")(evaluate)
app.command()(worker)
app.command()(models)
app.add_typer(keys)
app.command()(calibrate)


def _version(wanted: bool) -> None:
    if not wanted:
        return
    from service.api.ops.endpoints import pollux_version

    typer.echo(f"pollux {pollux_version()}")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    app()
