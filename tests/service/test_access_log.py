"""The access log says what people did, not what probes did, and no secrets."""

import logging

import httpx
import pytest

from service.commands.checkpoint import _quiet_jax
from tests.service.support import MODEL, running, settings_of


@pytest.fixture
def lines():
    seen: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            seen.append(record.getMessage())

    keep = Keep()
    yield seen, keep
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).removeHandler(keep)


async def test_probes_are_not_logged_and_keys_are_not_shown(lines) -> None:
    seen, keep = lines
    async with (
        running(lambda g, p: "x", log_level="info") as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        logging.getLogger("uvicorn.access").addHandler(keep)
        for path in ("/healthz", "/readyz", "/health", "/ping", "/metrics", "/metrics?x=1"):
            assert (await http.get(path)).status_code == 200
        await http.get("/v1/models?key=SECRET&pageSize=3")
        await http.get("/v1/models?pageSize=3&key=SECRET")
        await http.get("/v1/models?access_token=SECRET")
        await http.get(f"/v1/models/{MODEL}")
    assert len(seen) == 4
    assert "SECRET" not in "".join(seen)
    assert "key=...&pageSize=3" in seen[0]


def test_jax_does_not_report_the_devices_that_are_not_there() -> None:
    jax = logging.getLogger("jax")
    before = jax.level
    try:
        jax.setLevel(logging.INFO)
        _quiet_jax(settings_of(log_level="info"))
        assert not logging.getLogger("jax._src.xla_bridge").isEnabledFor(logging.INFO)
        jax.setLevel(logging.INFO)
        _quiet_jax(settings_of(log_level="debug"))
        assert logging.getLogger("jax._src.xla_bridge").isEnabledFor(logging.INFO)
    finally:
        jax.setLevel(before)
