"""One server for all tests here, and both official Python clients, with and without asyncio."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from google import genai
from google.genai import types

from tests.conformance.blocking import Blocking
from tests.conformance.server import MODEL, Server, serving, serving_tiny
from tests.valkey import ValkeyServer

Clients = Callable[..., Any]
"""Makes a client; options are those of the client's own constructor."""


@pytest.fixture(scope="session")
def compiled(pytestconfig: pytest.Config) -> Path:
    """The server's cache; it outlives a run, so that the next starts in seconds."""
    return pytestconfig.cache.mkdir("conformance")


@pytest.fixture(scope="session")
def server(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving_tiny(tmp_path_factory.mktemp("server"), compiled) as running:
        yield running
        running.wait_idle()
        assert running.metric("pollux:engine_compilations_after_warmup_total") == 0


@pytest.fixture(scope="session")
def secure_server(compiled: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a certificate of its own: clients of live sessions speak TLS only."""
    with serving_tiny(tmp_path_factory.mktemp("secure"), compiled, tls=True) as running:
        yield running


@pytest.fixture(scope="session")
def without_worker(
    valkey_server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A gateway whose broker has no worker: it listens, and will never be ready."""
    flags = ("--model", MODEL, "--redis", valkey_server.url)
    with serving(tmp_path_factory.mktemp("gateway"), *flags) as running:
        running.process.wait_listening(running.url)
        yield running


@pytest.fixture(autouse=True)
def no_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the user's own configuration of the clients reaches a test."""
    for name in (
        *("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"),
        *("GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL"),
        *("GOOGLE_GENAI_API_VERSION", "GOOGLE_GENAI_HTTP_CLIENT", "GOOGLE_GENAI_USE_VERTEXAI"),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["sync", "async"])
def openai_clients(
    request: pytest.FixtureRequest, server: Server, runner: asyncio.Runner
) -> Iterator[Clients]:
    with contextlib.ExitStack() as opened:

        def make(**options: Any) -> Any:
            # As users do who write a key and an address, and nothing else.
            options = {
                "base_url": f"{server.url}/v1",
                "api_key": server.key,
                "max_retries": 0,
                **options,
            }
            if request.param == "sync":
                return opened.enter_context(openai.OpenAI(**options))
            return opened.enter_context(Blocking(openai.AsyncOpenAI(**options), runner))

        yield make


@pytest.fixture
def ai(openai_clients: Clients) -> Any:
    """An openai client."""
    return openai_clients()


@pytest.fixture(params=["sync", "httpx", "aiohttp"])
def gemini_clients(
    request: pytest.FixtureRequest, server: Server, runner: asyncio.Runner
) -> Iterator[Clients]:
    with contextlib.ExitStack() as opened:

        def make(api_key: str = server.key, **options: Any) -> Any:
            options = {"base_url": server.url, **options}
            if request.param == "httpx":
                # A transport of one's own is what keeps this client from aiohttp.
                options["async_client_args"] = {"transport": httpx.AsyncHTTPTransport()}
            client = genai.Client(api_key=api_key, http_options=types.HttpOptions(**options))
            if request.param == "sync":
                return opened.enter_context(client)
            opened.callback(client.close)
            assert client._api_client._use_aiohttp() == (request.param == "aiohttp")
            return opened.enter_context(Blocking(client.aio, runner))

        yield make


@pytest.fixture
def gemini(gemini_clients: Clients) -> Any:
    """A google-genai client."""
    return gemini_clients()
