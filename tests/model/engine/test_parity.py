"""The decoder against the logits that transformers computed for the same weights."""

import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.contract import Group, PathRequest, Prompt, SamplingParams, Submit
from model.engine.config import EngineConfig
from model.engine.engine import Engine
from model.engine.pages import BlockTables, PagedMemory
from model.engine.plan import Chunk, Output, StepPlan
from model.engine.runner import JaxRunner
from model.engine.scheduler import Scheduler
from model.engine.sequences import Trunk
from model.text.language import TextModel
from tests.model.engine.doubles import Seen, drain

FAMILIES = (
    "llama",
    "llama-scaled",
    "qwen2",
    "gemma3",
    "gemma4",
    "gemma4-inputs",
    "gemma4-experts",
    "llama.gguf",
)
CONTEXT = 128


class Loaded:
    """A fixture model on the device, with what transformers said of it."""

    def __init__(self, path, kernels="off", weights="native", tensor_parallel=1) -> None:
        self.checkpoint = open_checkpoint(path)
        config = EngineConfig(
            dtype="float32",
            max_rows=4,
            page_size=8,
            prefill_chunk=16,
            kv_bytes=2**24,
            kernels=kernels,
            weights=weights,
            tensor_parallel=tensor_parallel,
        )
        self.runner = JaxRunner(self.checkpoint, config, CONTEXT)
        folder = path if path.is_dir() else path.with_suffix("")
        self.expected = np.load(folder / "expected.npz")
        self.memory = PagedMemory.of(8, self.checkpoint.spec.windows, self.runner.memory.pages)

    def engine(self) -> Engine:
        scheduler = Scheduler(self.memory, self.runner.limits)
        text = TextModel(self.checkpoint.text)
        return Engine(scheduler, self.runner, text, self.checkpoint.spec.vocab_size, CONTEXT)


@pytest.fixture(scope="module", params=FAMILIES)
def loaded(request, parity_fixtures) -> Loaded:
    return Loaded(parity_fixtures / request.param)


def top_logprobs(loaded: Loaded, tokens: list[int], chunk: int) -> np.ndarray:
    """The 20 likeliest (id, logprob) of every position, prefilled `chunk` tokens at a time."""
    memory = loaded.memory
    trunk = Trunk(tokens=tokens, tables=BlockTables.empty(len(memory.pools)), alternatives=20)
    rows = []
    for start in range(0, len(tokens), chunk):
        count = min(chunk, len(tokens) - start)
        memory.grow(trunk.tables, start + count)
        part = Chunk(trunk, start, count)
        outputs = [Output(part, i, trunk=trunk, target=0) for i in range(count)]
        plan = StepPlan([], [part], outputs, memory.take_copies())
        rows += [result.top for result in loaded.runner.run(plan)()]
        memory.slide(trunk.tables, start + count)
    memory.release(trunk.tables)
    return np.array(rows)


@pytest.mark.parametrize("chunk", [1, 5, 16])
def test_logprobs_are_those_of_transformers_however_the_prompt_is_cut(loaded, chunk):
    for i in range(4):
        tokens = [*loaded.expected[f"prompt_{i}"], *loaded.expected[f"continuation_{i}"]]
        logits = loaded.expected[f"logits_{i}"].astype(np.float64)
        wanted = (
            logits
            - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1))[:, None]
            - logits.max(-1, keepdims=True)
        )
        found = top_logprobs(loaded, [int(t) for t in tokens], chunk)
        ids, values = found[..., 0].astype(int), found[..., 1]
        same = np.take_along_axis(wanted, ids, axis=-1)
        scale = np.abs(logits).max()
        assert np.abs(values - same).max() <= 1e-4 * scale
        # And these are the 20 likeliest: nothing left out is above the last of them.
        rest = wanted.copy()
        np.put_along_axis(rest, ids, -np.inf, axis=-1)
        assert (rest.max(-1) <= values.min(-1) + 1e-4 * scale).all()


def test_greedy_continuations_are_those_of_transformers(loaded):
    engine = loaded.engine()
    for i in range(4):
        prompt = [int(t) for t in loaded.expected[f"prompt_{i}"]]
        sampling = SamplingParams(max_tokens=24, temperature=0.0, ignore_eos=True)
        asked = Group(
            id=str(i),
            prompt=Prompt.of_tokens(prompt),
            paths=(PathRequest(index=0, sampling=sampling),),
        )
        engine.handle(Submit(group=asked))
    seen = Seen(drain(engine))
    for i in range(4):
        logits = np.sort(loaded.expected[f"logits_{i}"], axis=-1)
        margin = logits[-25:-1, -1] - logits[-25:-1, -2]
        clear = int(np.argmax(margin < 1e-3)) if (margin < 1e-3).any() else 24
        wanted = tuple(int(t) for t in loaded.expected[f"continuation_{i}"])
        assert clear > 0
        assert seen.tokens[str(i), 0][:clear] == wanted[:clear]
    assert loaded.memory.used == 0


def test_sampled_paths_are_the_same_alone_and_in_a_full_batch(loaded):
    prompt = [int(t) for t in loaded.expected["prompt_2"]]

    def path(seed: int) -> PathRequest:
        sampling = SamplingParams(max_tokens=16, seed=seed, temperature=0.8, ignore_eos=True)
        return PathRequest(index=seed, sampling=sampling)

    engine = loaded.engine()
    alone = {}
    for seed in range(4):
        only = Group(id="a", prompt=Prompt.of_tokens(prompt), paths=(path(seed),))
        engine.handle(Submit(group=only))
        alone[seed] = Seen(drain(engine)).tokens["a", seed]
    together = Group(
        id="b", prompt=Prompt.of_tokens(prompt), paths=tuple(path(seed) for seed in range(4))
    )
    engine.handle(Submit(group=together))
    seen = Seen(drain(engine))
    assert {seed: seen.tokens["b", seed] for seed in range(4)} == alone
    assert len(set(alone.values())) == 4
