"""What constraints cost: paths under a JSON schema beside as many free ones, in one process.

    python -m benchmarks.constraints [--model smollm2-135m-instruct] [--paths 16] [--runs 5]

First the engine: tokens/s of constrained and of free paths of the same length, by turns, and their
ratio. Then the parts: the vocabulary's prefix tree, compiling a grammar, a mask. The least of the
runs each.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Callable, Sequence

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from model.checkpoints import open_checkpoint
from model.checkpoints.base import Checkpoint
from model.checkpoints.catalogue import resolve
from model.contract import (
    Constraint,
    Group,
    PathOutput,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
)
from model.engine.config import EngineConfig
from model.engine.constraints import Grammar, Vocabulary
from model.engine.engine import Engine
from model.engine.grammar_trial import try_out
from model.engine.guide import Guide, Masks
from model.engine.pages import PagedMemory
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.text.language import TextModel

SCHEMA = json.dumps(
    {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 3, "maxLength": 24},
                "age": {"type": "integer", "minimum": 0, "maximum": 120},
                "likes": {"type": "array", "items": {"enum": ["tea", "coffee", "water"]}},
            },
            "required": ["name", "age", "likes"],
            "additionalProperties": False,
        },
        "minItems": 100,
    }
)
PROMPT = "Here are people, their ages and what they like to drink, as JSON:\n"
TOKENS = 64
CONTEXT = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--paths", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    checkpoint = open_checkpoint(resolve(arguments.model).path)
    text = TextModel(checkpoint.text)
    report_engine(checkpoint, text, arguments.paths, arguments.runs)
    report_parts(text, checkpoint.spec.vocab_size, arguments.paths, arguments.runs)


def report_engine(checkpoint: Checkpoint, text: TextModel, paths: int, runs: int) -> None:
    config = EngineConfig(context=CONTEXT, max_rows=max(2 * paths, 8), kv_bytes=2**29)
    runner = JaxRunner(checkpoint, config, CONTEXT)
    runner.warm_up()
    memory = PagedMemory.of(config.page_size, checkpoint.spec.windows, runner.memory.pages)
    engine = Engine(
        Scheduler(memory, runner.limits), runner, text, checkpoint.spec.vocab_size, CONTEXT
    )
    prompt = Prompt.of_tokens(text.encode_text(PROMPT))
    constraint = Constraint(json_schema=SCHEMA)
    after = Constraint(json_schema=SCHEMA, after="no such marker")
    kinds = {
        "free": (None,) * paths,
        "constrained": (constraint,) * paths,
        "constrained after a marker that does not come": (after,) * paths,
        "half of each": (None, constraint) * (paths // 2),
    }
    best: dict[str, dict[str, float]] = {}
    for _ in range(runs):
        for kind, constraints in kinds.items():
            found = timed_paths(engine, prompt, constraints)
            kept = best.setdefault(kind, found)
            best[kind] = {name: max(rate, kept[name]) for name, rate in found.items()}
    print(f"{'tokens/s of ' + str(paths) + ' paths':48}{'all':>8}{'free':>8}{'constrained':>13}")
    for kind, rates in best.items():
        columns = (rates["all"], rates.get("free"), rates.get("constrained"))
        shown = ("" if rate is None else f"{rate:.0f}" for rate in columns)
        print("{:48}{:>8}{:>8}{:>13}".format(kind, *shown))
    print(f"constrained / free: {best['constrained']['all'] / best['free']['all']:.2f}")
    print(f"compilations after the warm-up: {runner.compilations_after_warmup}")


def timed_paths(
    engine: Engine, prompt: Prompt, constraints: Sequence[Constraint | None]
) -> dict[str, float]:
    """Tokens/s between the first and the last token, of all paths and of either kind."""
    requests = tuple(
        PathRequest(
            index=index,
            sampling=SamplingParams(
                max_tokens=TOKENS, seed=index, ignore_eos=True, constraint=constraint
            ),
        )
        for index, constraint in enumerate(constraints)
    )
    engine.handle(Submit(group=Group(id="g", prompt=prompt, paths=requests)))
    times: dict[bool, list[float]] = {True: [], False: []}
    while engine.has_work:
        engine.step()
        now = time.perf_counter()
        for event in engine.take_events():
            if isinstance(event, PathOutput):
                times[constraints[event.path] is not None] += [now] * len(event.tokens)
    every = [*times[False], *times[True]]
    rates = {"all": rate(every)}
    if times[False]:
        rates["free"] = rate(times[False])
    if times[True]:
        rates["constrained"] = rate(times[True])
    return rates


def rate(times: list[float]) -> float:
    return len(times) / (max(times) - min(times))


def report_parts(text: TextModel, size: int, paths: int, runs: int) -> None:
    control = text.assets.control.values()

    def vocabulary() -> Vocabulary:
        return Vocabulary(text.tokenizer, text.eos, control, size)

    built = vocabulary()
    grammar = Grammar(built, "json_schema", SCHEMA)
    print(f"{'prefix tree of ' + str(size) + ' tokens':48}{least(vocabulary, runs):8.1f} ms")
    tried = least(lambda: try_out("json_schema", SCHEMA), runs)
    print(f"{'a grammar, tried out by another process':48}{tried:8.1f} ms")
    compiled = least(lambda: Grammar(built, "json_schema", SCHEMA), runs)
    print(f"{'compiled':48}{compiled:8.2f} ms")
    one, several = mask_times(grammar, paths)
    print(f"{'a mask':48}{one:8.3f} ms mean")
    print(f"{f'{paths} masks together, each':48}{several:8.3f} ms mean")


def mask_times(grammar: Grammar, paths: int) -> tuple[float, float]:
    """Mean milliseconds of a mask along random texts, alone and of several paths at once."""
    params = SamplingParams(max_tokens=TOKENS, constraint=Constraint(json_schema=SCHEMA))
    spent = []
    for count in (1, paths):
        rng, masks, seconds, filled = random.Random(0), Masks(), 0.0, 0
        guides = {row: Guide(params, grammar) for row in range(count)}
        for _ in range(TOKENS):
            begin = time.perf_counter()
            allowed = masks.of(guides)
            seconds += time.perf_counter() - begin
            filled += count
            for row, guide in guides.items():
                bits = np.unpackbits(allowed[row].view(np.uint8), bitorder="little")
                guide.place(int(rng.choice(np.flatnonzero(bits))), False)
        spent.append(1e3 * seconds / filled)
    return spent[0], spent[1]


def least(call: Callable[[], object], runs: int) -> float:
    """Milliseconds of the fastest of some runs."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


if __name__ == "__main__":
    main()
