"""The engine's speed on this machine, beside the bare matrix products of the same shapes.

    make bench                                  the default model
    make bench ARGS="--model gemma-3-270m --json bench.json"

Every row of the table is measured in this process, best of several repeats. "bound" is the time
of the model's matrix products alone (weights times a batch of rows), what a step cannot go below
without other weights; the ratio says how much everything else costs.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import DEFAULT_MODEL, resolve
from model.checkpoints.progress import console_progress
from model.contract import Group, PathRequest, Prompt, SamplingParams, Submit
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.pages import PagedMemory
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.text.language import TextModel

PROMPT_TOKENS = 296
NEW_TOKENS = 64
REPEATS = 3


@dataclass(frozen=True)
class Row:
    """One measurement. bound_ms: of the bare matrix products of one step, if that applies."""

    name: str
    seconds: float
    tokens: int
    step_ms: float | None = None
    bound_ms: float | None = None

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds


class Bench:
    """A loaded, warmed engine and ways to time it."""

    def __init__(self, path: Path, config: EngineConfig) -> None:
        self.checkpoint = open_checkpoint(path)
        spec = self.checkpoint.spec
        context = min(spec.context, config.context or spec.context)
        self.runner = JaxRunner(self.checkpoint, config, context)
        self.runner.warm_up()
        memory = PagedMemory.of(config.page_size, spec.windows, self.runner.memory.pages)
        scheduler = Scheduler(
            memory,
            config.max_rows,
            self.runner.shapes.prefill[-1].width,
            self.runner.shapes.score.width,
        )
        text = TextModel(self.checkpoint.text)
        self.engine = Engine(scheduler, self.runner, text, spec.vocab_size, context)
        self._vocabulary = spec.vocab_size

    def groups(
        self,
        count: int,
        paths: int,
        prompt_tokens: int = PROMPT_TOKENS,
        new_tokens: int = NEW_TOKENS,
    ) -> float:
        """Seconds for `count` groups of `paths` paths, each over a prompt of its own."""
        random = np.random.default_rng(0)
        for index in range(count):
            prompt = random.integers(10, self._vocabulary - 1, prompt_tokens).tolist()
            requests = tuple(
                PathRequest(
                    index=i,
                    sampling=SamplingParams(
                        max_tokens=new_tokens, temperature=0.8, seed=i, ignore_eos=True
                    ),
                )
                for i in range(paths)
            )
            group = Group(id=str(index), prompt=Prompt.of_tokens(prompt), paths=requests)
            self.engine.handle(Submit(group=group))
        start = time.perf_counter()
        while self.engine.has_work:
            self.engine.step()
            self.engine.take_events()
        return time.perf_counter() - start

    def bound_ms(self, rows: int) -> float:
        """Milliseconds of the model's matrix products for so many rows, nothing else."""
        spec, dtype = self.checkpoint.spec, self.runner.dtype
        weights = []
        for layer in spec.layers:
            heads = layer.heads + 2 * layer.kv_heads
            weights += [
                (spec.d_model, heads * layer.head_dim),
                (layer.heads * layer.head_dim, spec.d_model),
                (spec.d_model, 2 * layer.d_ff),
                (layer.d_ff, spec.d_model),
            ]
        weights.append((spec.d_model, spec.vocab_size))
        arrays = [jnp.ones(shape, dtype) for shape in weights]
        inputs = {d: jnp.ones((rows, d), dtype) for d, _ in weights}

        @jax.jit
        def products(inputs: dict[int, jax.Array], arrays: list[jax.Array]) -> list[jax.Array]:
            return [
                jnp.max(jnp.dot(inputs[w.shape[0]], w, preferred_element_type=jnp.float32))
                for w in arrays
            ]

        return 1e3 * best(lambda: jax.block_until_ready(products(inputs, arrays)), REPEATS + 2)


def best(run: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of several runs, after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(bench: Bench, max_rows: int) -> list[Row]:
    rows = []
    prefill = best(lambda: bench.groups(1, 1, new_tokens=1))
    rows.append(Row(f"prefill, {PROMPT_TOKENS} tokens", prefill, PROMPT_TOKENS))
    for paths in sorted({1, 8, max_rows}):
        seconds = best(lambda paths=paths: bench.groups(1, paths))
        step = 1e3 * (seconds - prefill) / (NEW_TOKENS - 1)
        # A batch is padded to four rows at least.
        bound = bench.bound_ms(max(4, paths))
        name = f"{paths} paths of one prompt" if paths > 1 else "one stream"
        rows.append(Row(name, seconds, paths * NEW_TOKENS, step, bound))
    seconds = best(lambda: bench.groups(max_rows, 1), 1)
    rows.append(Row(f"{max_rows} different prompts", seconds, max_rows * NEW_TOKENS))
    return rows


def table(rows: list[Row], title: str) -> Table:
    view = Table(title=title)
    for column in ("", "seconds", "tokens/s", "step, ms", "bound, ms", "step / bound"):
        view.add_column(column, justify="left" if not column else "right")
    for row in rows:
        view.add_row(
            row.name,
            f"{row.seconds:.2f}",
            f"{row.rate:.0f}",
            "" if row.step_ms is None else f"{row.step_ms:.1f}",
            "" if row.bound_ms is None else f"{row.bound_ms:.1f}",
            ""
            if row.step_ms is None or row.bound_ms is None
            else f"{row.step_ms / row.bound_ms:.2f}",
        )
    return view


def main(
    model: Annotated[str, typer.Option(help="Catalogue name, file or folder.")] = DEFAULT_MODEL,
    max_rows: Annotated[int, typer.Option(help="Paths that decode together.")] = 32,
    dtype: Annotated[str, typer.Option(help="auto, bfloat16 or float32.")] = "auto",
    kernels: Annotated[str, typer.Option(help="off, or auto: compiled CPU kernels.")] = "off",
    weights: Annotated[str, typer.Option(help="auto, or int8 by the CPU kernels.")] = "auto",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the numbers here.")
    ] = None,
) -> None:
    """Time the engine on this machine."""
    console = Console()
    with console_progress() as progress:
        path = resolve(model, progress=progress).path
    with console.status("loading and compiling"):
        config = EngineConfig(
            max_rows=max_rows,
            dtype=dtype,  # type: ignore[arg-type]
            context=2048,
            kernels=kernels,  # type: ignore[arg-type]
            weights=weights,  # type: ignore[arg-type]
        )
        bench = Bench(path, config)
    with console.status("measuring"):
        rows = measure(bench, max_rows)
    device = jax.devices()[0].device_kind
    title = f"{model}, {bench.runner.dtype}, {device}, jax {jax.__version__}"
    console.print(table(rows, title))
    one, many = rows[1].seconds, rows[-2].seconds
    console.print(f"{max_rows} paths of one prompt take {many / one:.1f} times as long as one path")
    if json_file is not None:
        numbers = [{**asdict(row), "tokens_per_s": row.rate} for row in rows]
        json_file.write_text(json.dumps({"title": title, "rows": numbers}, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
