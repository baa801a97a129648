"""HTTPS and wss with real clients that verify, and files that TLS cannot be served with."""

import asyncio
import contextlib
import datetime
import json
import ssl
import stat
from pathlib import Path

import httpx
import openai
import pytest
from cryptography.hazmat.primitives import serialization
from google import genai
from google.genai import types
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from service import protocols, tls
from service.tls import BadCertificate, check, self_signed
from tests.service.guard.test_door import ASK, BEARER, CHAT, KEY, KEYS, greet
from tests.service.support import MODEL, running, sse_objects


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls") / "not yet there")


@pytest.fixture
def files(certificate) -> dict[str, Path]:
    return {"tls_cert": certificate[0], "tls_key": certificate[1]}


def trusting(cert: Path) -> ssl.SSLContext:
    """As strict as Python 3.13 and later are by default."""
    context = ssl.create_default_context(cafile=str(cert))
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


async def test_answers_streams_and_sockets_over_tls(files) -> None:
    context = trusting(files["tls_cert"])
    async with running(greet, api_keys=KEYS, **files) as server:
        assert server.url.startswith("https://")
        for host in ("127.0.0.1", "localhost"):
            base = f"https://{host}:{server.port}"
            async with httpx.AsyncClient(base_url=base, verify=context, headers=BEARER) as http:
                assert (await http.post(CHAT, json=ASK)).status_code == 200
                stream = await http.post(CHAT, json={**ASK, "stream": True})
                assert sse_objects(stream.text)[-1] == "[DONE]"
            socket = connect(
                f"wss://{host}:{server.port}/v1/stream", ssl=context, additional_headers=BEARER
            )
            async with socket as page:
                await page.send(json.dumps(ASK))
                kinds = [json.loads(message)["type"] async for message in page]
            assert kinds[-1] == "done"


async def test_the_official_clients_trust_it_by_the_environment_alone(files, monkeypatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files["tls_cert"]))
    async with running(greet, api_keys=KEYS, **files) as server:

        def ask() -> tuple[str | None, str | None]:
            messages = [{"role": "user", "content": "hi"}]
            with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY) as ai:
                one = ai.chat.completions.create(model=MODEL, messages=messages)
            options = types.HttpOptions(base_url=server.url)
            with genai.Client(api_key=KEY, http_options=options) as ai:
                two = ai.models.generate_content(model=MODEL, contents="hi")
            return one.choices[0].message.content, two.text

        assert await asyncio.to_thread(ask) == ("hello from here", "hello from here")
        async with connect(server.socket_url, additional_headers=BEARER) as socket:
            await socket.send(json.dumps(ASK))
            assert json.loads(await socket.recv())["type"] == "delta"


async def test_who_does_not_trust_it_does_not_connect_and_plain_http_is_no_way_in(
    files, caplog
) -> None:
    async with running(greet, **files) as server:
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(f"{server.url}/healthz")
            with pytest.raises(httpx.TransportError):
                await http.get(f"http://127.0.0.1:{server.port}/healthz")
        async with httpx.AsyncClient(verify=trusting(files["tls_cert"])) as http:
            assert (await http.get(f"{server.url}/healthz")).status_code == 200
    assert "Traceback" not in caplog.text


async def test_headers_are_bounded_under_tls_as_well(files, monkeypatch) -> None:
    context = trusting(files["tls_cert"])
    async with running(greet, **files) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        with contextlib.suppress(ConnectionError):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ")
            for _ in range(20):
                writer.write(b"x" * 10_000)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).startswith(b"HTTP/1.1 431")
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        monkeypatch.setattr(protocols, "HEAD_TIMEOUT_S", 0.05)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(b"GET /healthz HTTP/1.1\r\nx-slow: ")
        assert (await reader.read()).startswith(b"HTTP/1.1 408")
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


def test_a_certificate_is_made_once_and_its_key_is_private(tmp_path) -> None:
    cert, key = self_signed(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = (cert.read_bytes(), key.read_bytes())
    assert self_signed(tmp_path) == (cert, key)
    assert (cert.read_bytes(), key.read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["localhost.crt", "localhost.key"]


@pytest.mark.parametrize("damage", ["expired", "cut", "other key", "gone"])
def test_a_certificate_that_is_of_no_use_any_more_is_made_anew(
    tmp_path, monkeypatch, damage: str
) -> None:
    cert, key = self_signed(tmp_path)
    before = cert.read_bytes()
    match damage:
        case "expired":
            later = tls._now() + datetime.timedelta(days=tls.DAYS - 0.5)
            monkeypatch.setattr(tls, "_now", lambda: later)
        case "cut":
            cert.write_bytes(before[:100])
        case "other key":
            key.write_bytes(tls._make()[1])
        case "gone":
            key.unlink()
    self_signed(tmp_path)
    assert cert.read_bytes() != before
    check(cert, key)


def test_files_that_tls_cannot_be_served_with_are_one_line(tmp_path, certificate) -> None:
    cert, key = certificate
    other = self_signed(tmp_path)[1]
    text = tmp_path / "text"
    text.write_text("hello")
    encrypted = tmp_path / "encrypted"
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    encrypted.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for pair, complaint in [
        ((tmp_path / "none", key), "cannot read .*none: No such file"),
        ((cert, tmp_path), "cannot read .*: Is a directory"),
        ((cert, other), "is not the key of"),
        ((text, key), "not a certificate and its key"),
        ((cert, text), "not a certificate and its key"),
        ((key, cert), "not a certificate and its key"),
        ((cert, encrypted), "is encrypted"),
    ]:
        with pytest.raises(BadCertificate, match=complaint):
            check(*pair)
    check(cert, key)


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path) -> None:
    (tmp_path / "tls").touch()
    with pytest.raises(FileExistsError):
        self_signed(tmp_path / "tls")


async def test_the_sockets_of_the_official_clients_learn_why_they_are_refused(
    files, monkeypatch
) -> None:
    """Google's Live client speaks TLS only; both show the status of the handshake."""
    monkeypatch.setenv("SSL_CERT_FILE", str(files["tls_cert"]))
    async with running(greet, api_keys=KEYS, **files) as server:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="wrong") as ai:
            with pytest.raises(InvalidStatus) as refused:
                async with ai.realtime.connect(model=MODEL):
                    pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"
        client = genai.Client(api_key="wrong", http_options=types.HttpOptions(base_url=server.url))
        with pytest.raises(InvalidStatus) as refused:
            async with client.aio.live.connect(model=MODEL):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body)["error"]["status"] == "UNAUTHENTICATED"
