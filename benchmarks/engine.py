"""Pollux beside its peers and beside the bound, on this machine: one table.

    make bench                                      the default workload: Gemma 3 270M, everything
    make bench ARGS="--quick --json bench.json"     minutes instead of half an hour
    make bench ARGS="--weights int8 -- --kv-memory 1GiB"    what follows -- goes to `pollux serve`

What users get is measured through HTTP, each server in a process of its own; the engine alone is
measured in this process, beside programs that have no server either. Systems take turns, the best
of a few runs counts, and nothing is asserted. Peers that are not installed are named.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import workloads as w
from benchmarks.campaign import Campaign, start_again
from benchmarks.client import Api
from benchmarks.report import as_json, show
from benchmarks.systems import engine, pollux, products
from benchmarks.systems.base import System
from benchmarks.systems.peers import Places, find_peers
from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import resolve
from model.checkpoints.progress import console_progress

_NARROWEST = 170


def main(
    model: Annotated[str, typer.Option(help="Catalogue name or GGUF file.")] = "gemma-3-270m",
    serve: Annotated[
        list[str] | None, typer.Argument(help="After --: more flags for `pollux serve`.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="Pollux's, as `pollux serve` has it.")] = None,
    kernels: Annotated[str | None, typer.Option(help="As `pollux serve` has it.")] = None,
    weights: Annotated[str | None, typer.Option(help="As `pollux serve` has it.")] = None,
    max_rows: Annotated[int | None, typer.Option(help="As `pollux serve` has it.")] = None,
    threads: Annotated[int | None, typer.Option(help="Cores that every system may use.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Short prompts only.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Part of a workload's name.")] = None,
    systems: Annotated[list[str] | None, typer.Option(help="Part of a system's name.")] = None,
    repeats: Annotated[int | None, typer.Option(help="Runs of each; the best counts.")] = None,
    minutes: Annotated[float, typer.Option(help="Begin nothing new after so long.")] = 60.0,
    wait_quiet: Annotated[
        float, typer.Option(help="Seconds to wait, before each run, for others to be idle.")
    ] = 0.0,
    llama_python: Annotated[
        str, typer.Option(envvar="BENCH_LLAMA_PYTHON", help="A python with xllamacpp.")
    ] = sys.executable,
    llama_bin: Annotated[
        Path | None, typer.Option(envvar="BENCH_LLAMA_BIN", help="llama.cpp's programs.")
    ] = None,
    torch_python: Annotated[
        str, typer.Option(envvar="BENCH_TORCH_PYTHON", help="A python with transformers.")
    ] = sys.executable,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers here.")
    ] = None,
) -> None:
    """Measure Pollux and its peers on this machine."""
    # Servers are stopped on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    console = Console(stderr=True)
    cores = _limit_cores(threads)
    with console_progress() as progress:
        path = resolve(model, progress=progress).path
    checkpoint = open_checkpoint(path)
    # Without a template a conversation is plain text that ends where the user's turn begins:
    # answers would be cut short. Plain completions are the same work for every server.
    api: Api = "chat" if checkpoint.text.chat_template else "completions"
    checkpoint.close()

    options = {"dtype": dtype, "kernels": kernels, "weights": weights}
    rows = None if max_rows is None else str(max_rows)
    alone = engine.InProcess(path, {**options, "max_rows": max_rows})
    served = pollux.served(model, api, {**options, "max-rows": rows}, serve or [])
    found, absent = find_peers(Places(llama_python, llama_bin, torch_python), path, api, cores)
    everyone: list[System] = [
        served,
        *(peer for peer in found if peer.against == pollux.NAME),
        alone,
        products.Bound(lambda: alone.products),
        *(peer for peer in found if peer.against != pollux.NAME),
    ]
    chosen = [s for s in everyone if _wanted(s.name, systems)]
    workloads = [x for x in (w.QUICK if quick else w.ALL) if _wanted(x.name, only)]
    with console.status("starting") as status:

        def say(text: str) -> None:
            if console.is_terminal:
                status.update(text)
            else:
                print(text, file=sys.stderr, flush=True)

        results = Campaign(chosen, workloads, say, wait_quiet, minutes, repeats).run()
        if served in chosen:
            start_again(served, results, say)
    title = f"{model}, {cores} cores, {alone.device or 'engine not run'}"
    out = Console()
    if out.width < _NARROWEST and not out.is_terminal:
        out = Console(width=_NARROWEST)
    if json_file is not None:
        json_file.write_text(json.dumps(as_json(title, results, chosen, absent), indent=2) + "\n")
    show(out, title, results, chosen, absent)


def _wanted(name: str, parts: list[str] | None) -> bool:
    return not parts or any(part in name for part in parts)


def _limit_cores(wanted: int | None) -> int:
    """Every process that is started later inherits it, so that all have the same."""
    if not hasattr(os, "sched_setaffinity"):
        return wanted or os.cpu_count() or 1
    mine = sorted(os.sched_getaffinity(0))
    if wanted is not None:
        mine = mine[:wanted]
        os.sched_setaffinity(0, mine)
    return len(mine)


if __name__ == "__main__":
    typer.run(main)
