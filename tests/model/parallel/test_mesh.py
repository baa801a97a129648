"""A layer cut over devices computes what it computes whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from model.checkpoints import open_checkpoint
from model.engine.config import EngineConfig
from model.engine.runner import JaxRunner
from model.engine.step import zero_cache
from model.nn.layout import KvLayout
from model.parallel.mesh import TooFewDevices, over


def on_two_devices(fixture: Path, *flags: str) -> dict:
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    script = [sys.executable, "-m", "tests.model.parallel.on_two_devices", str(fixture), *flags]
    done = subprocess.run(script, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_multi_query_attention_is_whole_on_both_devices_and_the_rest_is_cut(parity_fixtures):
    said = on_two_devices(parity_fixtures / "gemma3")
    assert said["worst"] <= 1e-4
    assert said["gate_up"] == 0.5
    assert said["qkv"] == said["pages"] == 1.0


def test_grouped_query_attention_is_cut_and_the_engine_says_what_is_expected(parity_fixtures):
    said = on_two_devices(parity_fixtures / "llama", "generate")
    assert said["worst"] <= 1e-4
    assert said["gate_up"] == said["qkv"] == said["pages"] == 0.5
    assert said["generated"] == said["expected"]
    assert said["worst_mean"] <= 1e-4
    assert said["compilations"] == 0


@pytest.mark.parametrize("name", ["gemma4", "gemma4-inputs", "gemma4-experts"])
def test_gemma_4_cut_over_both_devices_says_what_it_says_whole(parity_fixtures, name):
    said = on_two_devices(parity_fixtures / name)
    assert said["worst"] <= 1e-4
    assert said["gate_up"] == 0.5


def test_more_devices_than_there_are_is_one_line(parity_fixtures):
    checkpoint = open_checkpoint(parity_fixtures / "llama")
    config = EngineConfig(dtype="float32", tensor_parallel=64)
    with pytest.raises(TooFewDevices, match="there are 1 cpu devices"):
        JaxRunner(checkpoint, config, 128)


def test_scales_of_pages_in_bytes_lie_with_their_heads(parity_fixtures):
    spec = open_checkpoint(parity_fixtures / "llama").spec
    layout = KvLayout(1, scales=True)
    cache = zero_cache(spec, (3,), 8, jnp.dtype(jnp.int8), layout)
    assert cache[0].k_scale is not None
    placed = over(jax.devices()[:1]).cache(cache)
    assert placed[0].k.spec[1] == placed[0].k_scale.spec[1] == "tensor"
