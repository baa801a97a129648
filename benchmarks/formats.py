"""What each format of weights and KV costs in fidelity and gains in speed, on one model.

    python -m benchmarks.formats [--model gemma-3-270m] [--tokens 1024] [--json formats.json]

Fidelity is of the model's distribution over a text, against float32 in plain JAX: the mean
Kullback-Leibler divergence in nats, how often the likeliest token is the same, the perplexity.
Speed is of the engine alone: 64 tokens of one path and of 32 paths of a 296-token prompt.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import measurement as m
from benchmarks.systems.engine import InProcess
from benchmarks.workloads import ONE, PATHS
from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import resolve
from model.checkpoints.progress import console_progress
from model.engine.pages import BlockTables, PagedMemory
from model.engine.plan import Chunk, Output, StepPlan
from model.engine.runner import JaxRunner
from model.engine.sequences import Trunk
from model.text.language import TextModel

CONTEXT = 2048
TEXTS = ("docs/architecture.md", "docs/routing.md", "docs/api.md", "docs/deployment.md")
FORMATS: dict[str, dict[str, str]] = {
    "float32, plain JAX": {"dtype": "float32", "kernels": "off", "weights": "native"},
    "bfloat16, plain JAX": {"dtype": "bfloat16", "kernels": "off", "weights": "native"},
    "bfloat16": {"dtype": "bfloat16", "weights": "native"},
    "as the file keeps them": {},
    "8 bits": {"weights": "int8"},
    "4 bits": {"weights": "int4"},
    "as kept, KV in 8 bits": {"kv": "int8"},
}


@dataclass(frozen=True)
class Row:
    """weights, kv: bytes; kv of one token in every layer, windows not counted."""

    name: str
    divergence: float
    agreement: float
    perplexity: float
    weights: int
    kv: int
    one: float
    paths: float


def main(
    model: Annotated[str, typer.Option(help="Catalogue name or GGUF file.")] = "gemma-3-270m",
    tokens: Annotated[int, typer.Option(help="Length of the text, at most 2048.")] = 1024,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers here.")
    ] = None,
) -> None:
    """Compare formats of weights and KV."""
    console = Console(width=120)
    with console_progress() as progress:
        path = resolve(model, progress=progress).path
    checkpoint = open_checkpoint(path)
    written = "\n".join(Path(name).read_text(encoding="utf-8") for name in TEXTS)
    text = TextModel(checkpoint.text).encode_text(written)[: min(tokens, CONTEXT)]
    checkpoint.close()
    rows: list[Row] = []
    reference: np.ndarray | None = None
    for name, options in FORMATS.items():
        with console.status(f"{name}: loading, compiling, measuring"):
            system = InProcess(path, {"context": CONTEXT, "max_rows": 32, **options})
            system.start()
            assert system.runner is not None
            logprobs = distribution(system.runner, text)
            reference = logprobs if reference is None else reference
            rows.append(row(name, system, logprobs, reference, text))
            system.stop()
    console.print(table(rows, f"{model}, {len(text)} tokens of text, jax {jax.__version__}"))
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")


def distribution(runner: JaxRunner, tokens: list[int]) -> np.ndarray:
    """Log-probabilities [T - 1, V] float32 of what follows each token."""
    memory = PagedMemory.of(32, runner.spec.windows, runner.memory.pages)
    trunk = Trunk(tokens=tokens, tables=BlockTables.empty(len(memory.pools)))
    parts = []
    for start in range(0, len(tokens) - 1, runner.limits.score_chunk):
        count = min(runner.limits.score_chunk, len(tokens) - 1 - start)
        memory.grow(trunk.tables, start + count)
        chunk = Chunk(trunk, start, count)
        outputs = [
            Output(chunk, i, trunk=trunk, target=tokens[start + i + 1]) for i in range(count)
        ]
        logits = runner.logits(StepPlan([], [chunk], outputs, memory.take_copies()))
        parts.append(np.asarray(jax.nn.log_softmax(logits, axis=-1)))
        memory.slide(trunk.tables, start + count)
    return np.concatenate(parts)


def row(
    name: str, system: InProcess, logprobs: np.ndarray, reference: np.ndarray, tokens: list[int]
) -> Row:
    runner = system.runner
    assert runner is not None
    follow = np.array(tokens[1:])
    divergence = (np.exp(reference) * (reference - logprobs)).sum(-1).mean()
    agreement = (reference.argmax(-1) == logprobs.argmax(-1)).mean()
    perplexity = np.exp(-logprobs[np.arange(len(follow)), follow].mean())
    figures = {}
    for workload in (ONE, PATHS):
        runs = [system.run(workload) for _ in range(3)]
        figures[workload.name] = max(run.figures[m.DECODE_RATE] for run in runs)
    leaves = {id(leaf): leaf.nbytes for leaf in jax.tree.leaves(runner.params)}
    return Row(
        name=name,
        divergence=float(divergence),
        agreement=float(agreement),
        perplexity=float(perplexity),
        weights=sum(leaves.values()),
        kv=runner.kv_bytes_per_token,
        one=figures[ONE.name],
        paths=figures[PATHS.name],
    )


def table(rows: list[Row], title: str) -> Table:
    view = Table(title=title)
    for column in (
        "weights",
        "KL, nats",
        "same token",
        "perplexity",
        "weights, MB",
        "KV, bytes/token",
        "one path, tok/s",
        "32 paths, tok/s",
    ):
        view.add_column(column, justify="left" if column == "weights" else "right")
    for row in rows:
        view.add_row(
            row.name,
            f"{row.divergence:.5f}",
            f"{100 * row.agreement:.1f} %",
            f"{row.perplexity:.3f}",
            f"{row.weights / 1e6:.0f}",
            str(row.kv),
            f"{row.one:.0f}",
            f"{row.paths:.0f}",
        )
    return view


if __name__ == "__main__":
    typer.run(main)
