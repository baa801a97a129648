"""python -m benchmarks.gateway: what the gateway costs, beside peers and floors, in one table."""

import json
import resource
import sys
import tempfile
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from rich.console import Console

from benchmarks import others
from benchmarks.gateway import rows, table
from benchmarks.gateway.rows import Figure, Sizes
from benchmarks.gateway.systems import System, floors, gateway, peers
from benchmarks.gateway.tokens import BadStream
from benchmarks.systems.base import SystemFailed

_FILES = 8192


async def measure(systems: list[System], sizes: Sizes, console: Console) -> tuple[dict, list[str]]:
    results: dict[str, list[Figure]] = {system.name: [] for system in systems}
    failures: list[str] = []

    async def note(name: str, figures: AsyncIterator[Figure]) -> None:
        try:
            async for figure in figures:
                results[name].append(figure)
                console.print(f"{name}, {figure.row}: {figure.value:.4g}", markup=False)
        except (SystemFailed, BadStream, OSError) as error:
            failures.append(f"{name}: {error}")

    for system in systems:
        await note(system.name, rows.common(system, sizes))
    first = systems[0]
    with first.running() as target:
        await note(first.name, rows.ours(target, sizes))
    with gateway(first.name, "--keys", "--answers").running() as target:
        await note(first.name, rows.routed(target, sizes))
    return {name: figures for name, figures in results.items() if figures}, failures


def main(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer and shorter runs.")] = False,
    only: Annotated[bool, typer.Option("--only", help="The gateway alone.")] = False,
    aimock: Annotated[str | None, typer.Option(help="aimock's llmock program.")] = None,
    litellm: Annotated[str | None, typer.Option(help="LiteLLM's program.")] = None,
    llama_python: Annotated[str | None, typer.Option(help="A Python with xllamacpp.")] = None,
    out: Annotated[Path | None, typer.Option(help="Figures as JSON.")] = None,
) -> None:
    """Time the gateway over a worker that answers at once."""
    _allow_files()
    console = Console()
    sizes = rows.QUICK if quick else Sizes()
    llama = [llama_python or sys.executable] if llama_python or find_spec("xllamacpp") else []
    with tempfile.TemporaryDirectory() as folder:
        found, absent = peers(Path(folder), aimock, litellm, llama)
        systems = [gateway("Pollux", "--keys")]
        if not only:
            systems += [gateway("Pollux, no keys"), *found, *floors()]
        before = others.usage()
        results, failures = uvloop.run(measure(systems, sizes, console))
        busy = others.other_cores(before, others.usage())
    table.show(console, "What the gateway costs", results, [] if only else absent, failures)
    if busy is not None:
        console.print(f"others kept {busy:.1f} cores busy meanwhile")
    if out is not None:
        out.write_text(json.dumps(table.as_json(results, failures), indent=2) + "\n")
    if failures:
        raise typer.Exit(1)


def _allow_files() -> None:
    """A thousand connections are a thousand files here, and as many in the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    typer.run(main)
