"""What embeddings cost, and what they cost others, in one process without a server.

    python -m benchmarks.embeddings [--model smollm2-135m-instruct] [--runs 3]

First texts/s and tokens/s by the length of the texts, beside the same prompts answered with one
token each. Then how fast paths decode alone and while embeddings are asked for. Texts are made up,
nothing is found in a cache, the best of the runs counts.
"""

import argparse
import os
import time
from collections.abc import Callable, Sequence
from functools import partial

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from model.checkpoints import open_checkpoint
from model.checkpoints.catalogue import resolve
from model.contract import Event, Group, PathOutput, PathRequest, Prompt, SamplingParams, Submit
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.pages import PagedMemory
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.text.language import TextModel

CONTEXT = 2048
LENGTHS = ((16, 128), (64, 64), (256, 16), (1024, 4))
"""Tokens of a text, and how many such texts."""
PATHS, TOKENS = 8, 96


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    bench = Bench(arguments.model)
    print(f"{'tokens':>8} {'texts/s':>9} {'tokens/s':>9}   {'answered with one token':>24}")
    for length, count in LENGTHS:
        embedded = best(arguments.runs, partial(bench.texts, length, count, embed=True))
        answered = best(arguments.runs, partial(bench.texts, length, count, embed=False))
        print(
            f"{length:>8} {count / embedded:>9.1f} {count * length / embedded:>9.0f}"
            f"   {count * length / answered:>15.0f} tokens/s"
        )
    alone = best(arguments.runs, partial(bench.paths, beside=0))
    beside = best(arguments.runs, partial(bench.paths, beside=64))
    print(f"{PATHS} paths decode: {PATHS * TOKENS / alone:.0f} tokens/s alone, ", end="")
    print(f"{PATHS * TOKENS / beside:.0f} while texts of 64 tokens are embedded")


def best(runs: int, run: Callable[[], float]) -> float:
    return min(run() for _ in range(runs))


class Bench:
    def __init__(self, model: str) -> None:
        checkpoint = open_checkpoint(resolve(model).path)
        config = EngineConfig(context=CONTEXT, kv_bytes=2**29)
        runner = JaxRunner(checkpoint, config, CONTEXT)
        began = time.perf_counter()
        runner.warm_up()
        print(f"{model}, {runner.choices.name}, warm-up {time.perf_counter() - began:.1f} s")
        memory = PagedMemory.of(config.page_size, checkpoint.spec.windows, runner.memory.pages)
        memory.reuse = False
        self._random = np.random.default_rng(0)
        self._vocabulary = checkpoint.spec.vocab_size
        text = TextModel(checkpoint.text)
        self._engine = Engine(
            Scheduler(memory, runner.limits), runner, text, self._vocabulary, CONTEXT
        )
        self._named = 0

    def texts(self, length: int, count: int, *, embed: bool) -> float:
        """Seconds for so many texts at once."""
        groups = [self._group(length, 0 if embed else 1, 1) for _ in range(count)]
        return self._run(groups)

    def paths(self, *, beside: int) -> float:
        """Seconds for paths over one prompt. beside: texts that wait to be embedded."""
        asked = self._group(32, PATHS, TOKENS)
        return self._run([asked, *(self._group(64, 0, 1) for _ in range(beside))], until=asked.id)

    def _group(self, length: int, paths: int, tokens: int) -> Group:
        self._named += 1
        sampling = SamplingParams(max_tokens=tokens, ignore_eos=True)
        return Group(
            id=str(self._named),
            prompt=Prompt.of_tokens(self._random.integers(100, self._vocabulary, length).tolist()),
            paths=tuple(PathRequest(index=index, sampling=sampling) for index in range(paths)),
            embed=paths == 0,
        )

    def _run(self, groups: Sequence[Group], until: str | None = None) -> float:
        """Seconds until all are done, or all paths of one."""
        began = time.perf_counter()
        for group in groups:
            self._engine.handle(Submit(group=group))
        ended, paths = None, 0
        while self._engine.has_work:
            self._engine.step()
            paths += sum(map(_ends, self._engine.take_events()))
            if ended is None and until is not None and paths == PATHS:
                ended = time.perf_counter()
        return (ended or time.perf_counter()) - began


def _ends(event: Event) -> bool:
    return isinstance(event, PathOutput) and event.finish is not None


if __name__ == "__main__":
    main()
