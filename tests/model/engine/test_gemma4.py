"""Gemma 4's three shapes: logits beside those of transformers, and served by the engine."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.checkpoints import open_checkpoint
from model.contract import (
    Group,
    GroupStarted,
    PathRequest,
    Prompt,
    SamplingParams,
    Submit,
)
from model.engine.config import EngineConfig
from model.engine.memory import page_bytes
from model.engine.step import zero_cache
from model.nn.layout import KvLayout
from model.nn.params import Params, abstract_params, load_params, parameter_count
from tests.model.engine.doubles import Seen, drain
from tests.model.engine.test_parity import Loaded
from tests.model.host import TINY, Host
from tests.model.logits import Logits

SHAPES = ("gemma4", "gemma4-inputs", "gemma4-experts")


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_transformers_to_five_digits(parity_fixtures: Path, shape: str) -> None:
    expected = np.load(parity_fixtures / shape / "expected.npz")
    logits = Logits(open_checkpoint(parity_fixtures / shape))
    for i in range(4):
        tokens = [int(t) for t in (*expected[f"prompt_{i}"], *expected[f"continuation_{i}"])]
        wanted = expected[f"logits_{i}"]
        assert np.abs(logits.of(tokens, 16) - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_pages_are_found_again_and_paths_say_what_they_said(
    parity_fixtures: Path, shape: str
) -> None:
    """A prompt of nine windows, twice: the second time all its full pages are there."""
    loaded = Loaded(parity_fixtures / shape)
    prompt = [int(token) for token in loaded.expected["prompt_3"]]
    engine = loaded.engine()
    said = []
    for cached in (0, 64):
        engine.handle(Submit(group=asked("a", prompt)))
        seen = Seen(drain(engine))
        assert [e.cached_tokens for e in seen.events if isinstance(e, GroupStarted)] == [cached]
        said.append(seen.tokens)
    assert said[0] == said[1]
    assert len(set(said[0].values())) == 3
    clear = unmistakable(loaded.expected)
    wanted = tuple(int(token) for token in loaded.expected["continuation_3"])
    assert said[0]["a", 0][:clear] == wanted[:clear]


def test_a_worker_serves_it_and_compiles_nothing_after_warm_up(parity_fixtures: Path) -> None:
    expected = np.load(parity_fixtures / "gemma4-inputs" / "expected.npz")
    prompt = [int(token) for token in expected["prompt_3"]]
    host = Host(parity_fixtures / "gemma4-inputs", replace(TINY, prefill_chunk=16))
    host.worker.start()
    while host.worker.status().state == "starting":
        time.sleep(0.05)
    said = host.tokens([asked("a", prompt), asked("b", prompt[:40])])
    again = host.tokens([asked("c", prompt)])
    host.worker.stop()
    assert [said["a", i] for i in range(3)] == [again["c", i] for i in range(3)]
    clear = unmistakable(expected)
    assert said["a", 0][:clear] == [int(token) for token in expected["continuation_3"]][:clear]
    status = host.worker.status()
    assert (status.state, status.compilations_after_warmup, status.pages_used) == ("stopped", 0, 0)


def unmistakable(expected: Any) -> int:
    """How many tokens of the longest prompt's continuation come before a close choice."""
    logits = np.sort(expected["logits_3"][-25:-1], axis=-1)
    close = logits[:, -1] - logits[:, -2] < 1e-3
    clear = int(np.argmax(close)) if close.any() else 24
    assert clear >= 4
    return clear


def asked(name: str, prompt: list[int]) -> Group:
    """A greedy path and two sampled ones."""
    samplings = [
        SamplingParams(max_tokens=24, temperature=temperature, seed=seed, ignore_eos=True)
        for seed, temperature in enumerate((0.0, 1.0, 1.0))
    ]
    paths = tuple(PathRequest(index=i, sampling=each) for i, each in enumerate(samplings))
    return Group(id=name, prompt=Prompt.of_tokens(prompt), paths=paths)


def test_pages_are_as_wide_as_their_layers_heads_and_there_are_none_of_sharing_layers(
    parity_fixtures: Path,
) -> None:
    dense = open_checkpoint(parity_fixtures / "gemma4").spec
    cache = zero_cache(dense, (3, 5), 8, jnp.dtype(jnp.float32))
    assert [pages.k.shape for pages in cache] == [(5, 2, 8, 8)] * 5 + [(3, 1, 8, 16)] * 2
    sharing = open_checkpoint(parity_fixtures / "gemma4-inputs").spec
    cache = zero_cache(sharing, (3, 5), 8, jnp.dtype(jnp.float32))
    assert [pages.k.shape for pages in cache] == [(5, 1, 8, 8)] * 2 + [(3, 1, 8, 16)]
    sizes = page_bytes(sharing, EngineConfig(page_size=8), KvLayout(4))
    assert sizes == (2 * 8 * 16 * 4, 2 * 2 * 8 * 8 * 4)


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_known_before_anything_is_loaded(parity_fixtures: Path, shape: str) -> None:
    checkpoint = open_checkpoint(parity_fixtures / shape)
    loaded = load_params(checkpoint, jnp.dtype(jnp.float32))
    told = abstract_params(checkpoint.spec, jnp.dtype(jnp.float32))
    assert shapes_of(told) == shapes_of(loaded)
    total = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(loaded))
    assert parameter_count(checkpoint.spec) == total - loaded.head.size


def shapes_of(params: Params) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), params)
