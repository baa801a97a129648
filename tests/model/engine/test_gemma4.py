"""Gemma 4's three shapes: logits beside those of transformers, and served by the engine."""

import math
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
    PathOutput,
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
from tests.model.host import TINY, Host
from tests.model.logits import Logits

SHAPES = ("gemma4", "gemma4-inputs", "gemma4-experts")


@pytest.mark.parametrize("chunk", [16, 96])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_are_those_of_transformers_to_five_digits(
    parity_fixtures: Path, shape: str, chunk: int
) -> None:
    expected = np.load(parity_fixtures / shape / "expected.npz")
    logits = Logits(open_checkpoint(parity_fixtures / shape))
    for i in range(4):
        tokens = [int(t) for t in (*expected[f"prompt_{i}"], *expected[f"continuation_{i}"])]
        wanted = expected[f"logits_{i}"]
        assert np.abs(logits.of(tokens, chunk) - wanted).max() <= 1e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_worker_serves_paths_and_finds_pages_again(parity_fixtures: Path, shape: str) -> None:
    """A prompt of nine windows, twice: the second time most of it is there, and every path says
    what it said."""
    expected = np.load(parity_fixtures / shape / "expected.npz")
    prompt = [int(token) for token in expected["prompt_3"]]
    host = Host(parity_fixtures / shape, replace(TINY, max_rows=4))
    host.worker.start()
    said, cached = [], []
    for name in ("first", "again"):
        group = asked(name, prompt)
        host.worker.send(Submit(group=group))
        events = host.until_end(name)
        cached += [e.cached_tokens for e in events if isinstance(e, GroupStarted)]
        paths: dict[int, list[int]] = {}
        for event in events:
            if isinstance(event, PathOutput):
                paths.setdefault(event.path, []).extend(event.tokens)
        said.append(paths)
    host.worker.stop()
    assert cached == [0, 64]
    assert said[0] == said[1]
    logits = np.sort(expected["logits_3"][len(prompt) - 1 : -1], axis=-1)
    close = logits[:, -1] - logits[:, -2] < 1e-3
    clear = int(np.argmax(close)) if close.any() else 24
    assert clear >= 4
    assert said[0][0][:clear] == [int(t) for t in expected["continuation_3"]][:clear]
    assert len({tuple(tokens) for tokens in said[0].values()}) == 3
    assert host.worker.status().compilations_after_warmup == 0


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
