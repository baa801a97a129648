"""Fixtures that more than one area uses."""

from collections.abc import Iterator

import pytest

from tests.valkey import ValkeyServer


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
