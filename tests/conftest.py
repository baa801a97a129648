"""What tests share. JAX runs on the CPU here, whatever else is installed."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.valkey import ValkeyServer

# How long something takes says nothing on a machine that does other things too.
settings.register_profile("pollux", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pollux")

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture(scope="session")
def parity_fixtures() -> Path:
    """Tiny models of every architecture, with the logits that transformers computed."""
    return FIXTURES / "parity"


@pytest.fixture(scope="session")
def default_checkpoint() -> Path:
    """The default model's file, fetched as `make serve` fetches it."""
    from model.checkpoints.catalogue import DEFAULT_MODEL, resolve

    return resolve(DEFAULT_MODEL, progress=None).path


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey(valkey_server: ValkeyServer) -> ValkeyServer:
    """A running server that holds nothing."""
    with valkey_server.client() as client:
        client.flushall()
    return valkey_server
