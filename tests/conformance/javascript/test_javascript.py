"""The official JavaScript clients: every test of the scripts here is one of pytest's."""

import json
from collections.abc import Callable
from functools import cache

import pytest

from tests.conformance.javascript import node
from tests.conformance.server import LIMITS, Server, key_of

FILES = {file.name.split(".")[0]: file for file in sorted(node.HERE.glob("*.test.mjs"))}
TESTS = [(name, test) for name, file in FILES.items() for test in node.names_of(file)]


@pytest.fixture(scope="session")
def outcome(
    server: Server, secure_server: Server, pytestconfig: pytest.Config
) -> Callable[[str], dict[str, str | None]]:
    """The results of a file, which runs once."""
    folder = node.installed(pytestconfig.cache.mkdir("conformance-javascript"))
    environment = {
        "POLLUX_KEYS": json.dumps({name: key_of(name) for name in LIMITS}),
        "NODE_EXTRA_CA_CERTS": str(secure_server.certificate),
    }

    @cache
    def results(name: str) -> dict[str, str | None]:
        url = (secure_server if name == "sessions" else server).url
        return node.results(folder, FILES[name], {**environment, "POLLUX_URL": url})

    return results


@pytest.mark.parametrize(("client", "name"), TESTS)
def test_in_javascript(outcome, client: str, name: str) -> None:
    error = outcome(client)[name]
    assert error is None, error
