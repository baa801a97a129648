"""A layer cut over devices computes what it computes whole."""

import json
import os
import subprocess
import sys

import pytest

from model.checkpoints import open_checkpoint
from model.engine.config import EngineConfig
from model.engine.runner import JaxRunner
from model.parallel.mesh import TooFewDevices


@pytest.mark.parametrize(("family", "kv_share"), [("gemma3", 1.0), ("llama", 0.5)])
def test_two_devices_say_what_one_says(family, kv_share, parity_fixtures):
    """Multi-query attention is whole on both devices, grouped-query attention is cut."""
    env = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    script = [sys.executable, "-m", "tests.model.parallel.on_two_devices"]
    done = subprocess.run(
        [*script, str(parity_fixtures / family)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["same_tokens"]
    assert said["worst"] <= 1e-4
    assert said["gate_up"] == 0.5
    assert said["qkv"] == said["pages"] == kv_share
    assert said["generated"] == said["expected"]
    assert said["compilations"] == 0


def test_more_devices_than_there_are_is_one_line(parity_fixtures):
    checkpoint = open_checkpoint(parity_fixtures / "llama")
    config = EngineConfig(dtype="float32", tensor_parallel=64)
    with pytest.raises(TooFewDevices, match="there are 1 cpu devices"):
        JaxRunner(checkpoint, config, 128)
