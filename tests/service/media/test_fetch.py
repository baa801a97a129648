"""Fetching, from real servers on this machine; names are resolved by the test."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.errors import ApiError
from service.media.addresses import Address, Allowlist, is_public
from service.media.fetch import Fetched, Fetcher
from service.tls import self_signed

HERE: Address = ipaddress.ip_address("127.0.0.1")
OUTSIDE: Address = ipaddress.ip_address("93.184.216.34")
Answer = Callable[[str], bytes]


def reply(status: str = "200 OK", body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


class Server:
    """Answers each request by its path; keeps what was asked."""

    def __init__(self, answer: Answer, chunks: int = 1) -> None:
        self.answer = answer
        self.chunks = chunks
        self.heads: list[str] = []
        self.sent = 0
        self.port = 0
        self.talks: list[asyncio.Task[None]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.talks.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            for _ in range(self.chunks):
                data = self.answer(head.split()[1])
                self.sent += len(data)
                writer.write(data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def served(server: Server, context: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=context)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
    await asyncio.gather(*server.talks)


def names(
    table: dict[str, Sequence[Address]],
) -> Callable[[str, int], Awaitable[Sequence[Address]]]:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return table.get(host, [])

    return resolve


def fetcher(server: Server, seconds: float = 10.0, **overrides: object) -> Fetcher:
    """Which may dial this machine, as those in use may not."""
    options: dict[str, object] = {
        "resolve": names({"media.test": [HERE], "other.test": [HERE]}),
        "admits": lambda address: address == HERE,
    }
    options.update(overrides)
    allowed = f"media.test:{server.port},other.test:{server.port},127.0.0.1:{server.port}"
    return Fetcher(Allowlist(allowed), seconds, **options)  # type: ignore[arg-type]


async def refused(fetching: Fetcher, url: str, max_bytes: int = 1000) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await fetching.fetch(url, max_bytes, "image_url")
    assert caught.value.param == "image_url"
    return caught.value


async def test_bytes_and_type_come_from_the_address() -> None:
    async with served(
        Server(lambda path: reply(body=b"bytes", Content_Type="image/png"))
    ) as server:
        url = f"http://media.test:{server.port}/a/b?c=d"
        assert await fetcher(server).fetch(url, 5) == Fetched(b"bytes", "image/png")
    (head,) = server.heads
    assert head.startswith("GET /a/b?c=d HTTP/1.1\r\n")
    assert f"Host: media.test:{server.port}\r\n" in head
    assert "cookie" not in head.lower()
    assert "authorization" not in head.lower()


async def test_nothing_is_fetched_without_a_list_of_hosts() -> None:
    async with served(Server(lambda path: reply())) as server:
        error = await refused(Fetcher(Allowlist(""), 10), f"http://127.0.0.1:{server.port}/")
        assert (error.status, server.heads) == (400, [])
        error = await refused(fetcher(server), f"http://elsewhere.test:{server.port}/")
        assert (error.status, server.heads) == (400, [])


async def test_a_name_that_points_inside_is_not_dialled_even_when_listed() -> None:
    async with served(Server(lambda path: reply(body=b"secret"))) as server:
        guarded = fetcher(server, admits=is_public)
        for host in ("media.test", "127.0.0.1"):
            error = await refused(guarded, f"http://{host}:{server.port}/")
            assert "127" not in str(error)
    assert server.heads == []


async def test_a_name_with_one_address_inside_is_not_dialled_at_all() -> None:
    async with served(Server(lambda path: reply())) as server:
        mixed = fetcher(server, resolve=names({"media.test": [HERE, OUTSIDE]}))
        await refused(mixed, f"http://media.test:{server.port}/")
    assert server.heads == []


async def test_the_address_that_was_checked_is_the_one_that_is_dialled() -> None:
    """DNS rebinding: the second answer would lead elsewhere, and is never asked for."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[Address]:
        asked.append(host)
        return [HERE] if len(asked) == 1 else [ipaddress.ip_address("127.0.0.2")]

    async with served(Server(lambda path: reply(body=b"x"))) as server:
        found = await fetcher(server, resolve=rebinding).fetch(
            f"http://media.test:{server.port}/", 10
        )
    assert (found.data, asked) == (b"x", ["media.test"])


async def test_a_redirect_is_followed_and_resolved_anew() -> None:
    def answer(path: str) -> bytes:
        if path == "/start":
            return reply("302 Found", Location="/next")
        if path == "/next":
            return reply("307 Temporary Redirect", Location=f"http://other.test:{server.port}/end")
        return reply(body=b"end")

    async with served(Server(answer)) as server:
        found = await fetcher(server).fetch(f"http://media.test:{server.port}/start", 10)
    assert found.data == b"end"
    assert [head.split()[1] for head in server.heads] == ["/start", "/next", "/end"]
    assert f"Host: other.test:{server.port}" in server.heads[2]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/secret", "http://unlisted.test:{port}/secret",
        "http://[::1]:{port}/secret", "http://[::ffff:127.0.0.1]:{port}/secret",
        "http://2130706433:{port}/secret", "http://0177.0.0.1:{port}/secret",
        "//127.0.0.1:{port}/secret", "file:///etc/passwd", "http://media.test@127.0.0.1:{port}/secret",
        "\\\\127.0.0.1:{port}\\secret", "http://localhost:{port}/secret", "",
    ],
)  # fmt: skip
async def test_a_redirect_inside_or_off_the_list_is_not_followed(location: str) -> None:
    def answer(path: str) -> bytes:
        if path == "/secret":
            return reply(body=b"secret")
        return reply("302 Found", Location=location.format(port=server.port))

    async with served(Server(answer)) as server:
        outside = [OUTSIDE]
        # The first host counts as public although it is here; this machine's address does not.
        table = names({"media.test": [HERE], "localhost": [HERE], "unlisted.test": outside})
        allowed = Allowlist(f"media.test:{server.port}")
        guarded = Fetcher(allowed, 10, resolve=table, admits=lambda address: address == HERE)
        await refused(guarded, f"http://media.test:{server.port}/")
    assert len(server.heads) == 1


async def test_a_chain_of_redirects_ends() -> None:
    async with served(Server(lambda path: reply("301 Moved", Location=path + "a"))) as server:
        error = await refused(fetcher(server), f"http://media.test:{server.port}/")
    assert "3 times" in str(error)
    assert len(server.heads) == 4


async def test_bytes_are_counted_while_they_come_in() -> None:
    """Without an end, and with a length that lies."""
    endless = b"HTTP/1.1 200 OK\r\n\r\n"
    pieces = iter([endless])
    async with served(Server(lambda path: next(pieces, b"x" * 65_536), chunks=10_000)) as server:
        error = await refused(fetcher(server), f"http://media.test:{server.port}/", 100_000)
    assert error.status == 413
    assert server.sent < 64 * 1024**2


async def test_compressed_bytes_are_refused() -> None:
    async with served(Server(lambda path: reply(body=b"x", Content_Encoding="gzip"))) as server:
        error = await refused(fetcher(server), f"http://media.test:{server.port}/")
    assert error.status == 400


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oops", "204 No Content", "206 Partial"])
async def test_any_other_status_is_one_and_the_same_error(status: str) -> None:
    async with served(Server(lambda path: reply(status, body=b""))) as server:
        error = await refused(fetcher(server), f"http://media.test:{server.port}/")
    assert str(error) == "the media could not be fetched from its address"


async def test_a_server_that_never_answers_is_given_up() -> None:
    class Silent(Server):
        async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.talks.append(asyncio.current_task())  # type: ignore[arg-type]
            await reader.read()
            writer.close()
            await writer.wait_closed()

    async with served(Silent(lambda path: b"")) as server:
        error = await refused(fetcher(server, seconds=0.2), f"http://media.test:{server.port}/")
    assert error.status == 400


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(("host", "good"), [("localhost", True), ("media.test", False)])
async def test_a_certificate_is_checked_against_the_name_not_the_address(
    certificate: tuple[Path, Path], host: str, good: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    seen: list[str | None] = []
    context.sni_callback = lambda socket, name, context: seen.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with served(Server(lambda path: reply(body=b"x")), context) as server:
        fetching = Fetcher(
            Allowlist(f"{host}:{server.port}"),
            10,
            resolve=names({host: [HERE]}),
            admits=lambda address: address == HERE,
            verify=trusting,
        )
        url = f"https://{host}:{server.port}/"
        if good:
            assert (await fetching.fetch(url, 10)).data == b"x"
        else:
            await refused(fetching, url)
    assert seen == [host]


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(Server(lambda path: reply(body=b"x"))) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        found = await fetcher(server).fetch(f"http://media.test:{server.port}/", 10)
    assert found.data == b"x"


async def test_an_unreachable_address_gives_way_to_the_next() -> None:
    async with served(Server(lambda path: reply(body=b"x"))) as server:
        dead = ipaddress.ip_address("127.0.0.9")
        both = fetcher(
            server, resolve=names({"media.test": [dead, HERE]}), admits=lambda address: True
        )
        found = await both.fetch(f"http://media.test:{server.port}/", 10)
    assert found.data == b"x"


async def test_a_closed_port_and_an_unknown_name_are_told_alike() -> None:
    async with served(Server(lambda path: reply())) as server:
        pass
    closed = await refused(fetcher(server), f"http://media.test:{server.port}/")
    unknown = await refused(fetcher(server, resolve=names({})), f"http://media.test:{server.port}/")
    assert str(closed) == str(unknown)
