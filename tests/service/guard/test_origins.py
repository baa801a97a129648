"""Web pages: those that are named may use the server and read its answers, others may not."""

import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service.guard.origins import Origins, parse_origins
from tests.service.guard.test_door import ASK, BEARER, CHAT, KEYS, greet
from tests.service.support import running, sse_objects

PAGE = "https://app.example"


async def test_a_named_page_reads_answers_streams_headers_and_refusals() -> None:
    origins = f" {PAGE}/, http://localhost:3000"
    async with (
        running(greet, api_keys=KEYS, cors_origins=origins) as server,
        httpx.AsyncClient(base_url=server.url, headers={"origin": PAGE}) as http,
    ):
        asked = await http.options(
            CHAT,
            headers={
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,x-stainless-lang",
            },
        )
        assert asked.status_code == 200, "a browser asks without the key"
        allowed = asked.headers["access-control-allow-headers"]
        assert "authorization" in allowed
        assert "x-stainless-lang" in allowed
        body = {**ASK, "stream": True}
        replies = [
            await http.post(CHAT, json=body, headers=BEARER),
            await http.post(CHAT, json=ASK),
            await http.post(CHAT, content=b"{", headers=BEARER),
            await http.post(CHAT, content=b"x" * 5_000_000, headers=BEARER),
        ]
        assert [reply.status_code for reply in replies] == [200, 401, 400, 413]
        assert sse_objects(replies[0].text)[-1] == "[DONE]"
        for reply in replies:
            assert reply.headers["access-control-allow-origin"] == PAGE
            assert reply.headers["access-control-expose-headers"] == "*"
            assert "access-control-allow-credentials" not in reply.headers
        socket = connect(server.socket_url, additional_headers=BEARER, origin=PAGE)
        async with socket as page:
            await page.send(json.dumps(ASK))
            assert json.loads(await page.recv())["type"] == "delta"


async def test_any_page_may_when_all_are_named_and_never_with_cookies() -> None:
    async with running(greet, cors_origins="*") as server, httpx.AsyncClient() as http:
        headers = {"origin": "null", "cookie": "a=b"}
        reply = await http.post(server.url + CHAT, json=ASK, headers=headers)
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize("named", ["", PAGE])
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://app.example", f"{PAGE}.evil.example", f"{PAGE}:1", ""],
)
async def test_other_pages_are_refused_also_where_no_key_is_asked_for(named, origin) -> None:
    async with running(greet, cors_origins=named) as server, httpx.AsyncClient() as http:
        headers = {"origin": origin, "content-type": "text/plain"}
        reply = await http.post(server.url + CHAT, json=ASK, headers=headers)
        assert reply.status_code == 403
        assert reply.json()["error"]["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in reply.headers
        with pytest.raises(InvalidStatus) as refused:
            async with connect(server.socket_url, additional_headers={"origin": origin}):
                pass
        assert refused.value.response.status_code == 403
        assert server.worker.groups == []
        # Probes say nothing that a page could not guess.
        assert (await http.get(f"{server.url}/healthz", headers=headers)).status_code == 200


async def test_the_servers_own_pages_may_use_it() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(server.url + CHAT, json=ASK, headers={"origin": server.url})
        assert reply.status_code == 200
        async with connect(server.socket_url, origin=server.url) as socket:
            await socket.send(json.dumps(ASK))
            assert json.loads(await socket.recv())["type"] == "delta"


async def test_a_name_made_to_point_here_is_not_this_servers_own() -> None:
    """DNS rebinding: the browser sends the hostile page's name as both host and origin."""
    rebound = {"origin": "http://evil.example", "host": "evil.example"}
    async with running(greet) as server, httpx.AsyncClient() as http:
        assert (await http.post(server.url + CHAT, json=ASK, headers=rebound)).status_code == 403
    # With keys a name gives nothing away, and a server may well have one.
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        headers = {**rebound, **BEARER}
        assert (await http.post(server.url + CHAT, json=ASK, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host", "names", "plain"),
    [
        (b"http://localhost:8000", b"localhost:8000", True, True),
        (b"https://LOCALHOST", b"localhost", True, True),
        (b"http://[::1]:8000", b"[::1]:8000", True, True),
        (b"http://10.0.0.7", b"10.0.0.7", True, True),
        (b"http://box:8000", b"box:8000", True, False),
        (b"http://box:8000", b"box:8001", False, False),
        (b"http://box", b"", False, False),
        (b"file://", b"", False, False),
        (b"http://[", b"[", True, False),
        (b"http://\xe9", b"\xe9", True, False),
    ],
)
def test_what_counts_as_a_page_of_the_servers_own(origin, host, names, plain) -> None:
    scope = {"headers": [(b"host", host), (b"origin", origin)]}
    assert Origins((), trust_names=True).admits(scope) is names
    assert Origins((), trust_names=False).admits(scope) is plain


def test_origins_are_listed_or_all() -> None:
    assert parse_origins("") == ()
    assert parse_origins("*") == ("*",)
    assert parse_origins("https://A.example/, chrome-extension://abc") == (
        "https://a.example",
        "chrome-extension://abc",
    )
    for wrong in ("example.org", "https://a/b", "*, https://a", "https://*.example", "https://"):
        with pytest.raises(ValueError, match="no origin such as"):
            parse_origins(wrong)
