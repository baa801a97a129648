"""`pollux keys`: makes keys for clients. A key is shown once; what is kept is its hash."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.console import MISUSED, fail, say
from service.guard.key_sources import add_to_file, line_of
from service.guard.keys import NAME, BadKeys, Key, digest_of, new_key
from service.guard.limits import Limits

keys = typer.Typer(name="keys", no_args_is_help=True, help="Make keys that clients come in with.")


@keys.callback()
def _root() -> None:
    """Keeps `new` a word of its own while it is the only one."""


@keys.command()
def new(
    name: Annotated[str, typer.Argument(help="Who it is for: in logs and metrics.")],
    requests_per_minute: Annotated[int | None, typer.Option(min=1)] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Of prompts and answers together.")
    ] = None,
    concurrent_sequences: Annotated[
        int | None, typer.Option(min=1, help="At once; a routed question has k + 1.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(help="Append the key's line to this file of --api-keys-file.")
    ] = None,
) -> None:
    """Print a new key, and the line for the file of keys."""
    if NAME.fullmatch(name) is None:
        fail(
            "a key's name is 1 to 64 of A-Z a-z 0-9 . _ - and begins with a letter or digit",
            MISUSED,
        )
    secret = new_key()
    limits = Limits(requests_per_minute, tokens_per_minute, concurrent_sequences)
    key = Key(name, digest_of(secret.encode()), limits)
    if file is None:
        say("The key, shown this once, and its line for --api-keys-file:")
        typer.echo(secret)
        typer.echo(line_of(key))
        return
    try:
        add_to_file(file, key)
    except BadKeys as error:
        fail(error)
    say(f"{name} was added to {file}; the key, shown this once:")
    typer.echo(secret)
