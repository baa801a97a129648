"""OpenAI's Files API, driven by the unmodified client and by hand."""

import io
import os
from contextlib import asynccontextmanager

import httpx
import openai
import pytest
from google import genai
from google.genai import types

from tests.service.support import running

KEYS = "alice=right-right-right-right,bob=other-other-other-other"


def greet(group, path):
    return "hello"


@asynccontextmanager
async def client(server, key: str = "right-right-right-right", **options):
    base = f"{server.url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=key, max_retries=0, **options) as opened:
        yield opened


async def test_the_official_client_uploads_lists_reads_and_deletes() -> None:
    content = os.urandom(5 * 1024 * 1024)  # larger than any other body may be
    async with running(greet, api_keys=KEYS) as server, client(server) as ai:
        file = await ai.files.create(file=("große.txt", content), purpose="user_data")
        assert file.id.startswith("file-")
        assert (file.bytes, file.filename) == (len(content), "große.txt")
        assert (file.object, file.purpose, file.status) == ("file", "user_data", "processed")
        assert file.expires_at - file.created_at == 48 * 3600
        assert await ai.files.retrieve(file.id) == file
        assert (await ai.files.content(file.id)).content == content
        assert [one.id async for one in ai.files.list()] == [file.id]
        gone = await ai.files.delete(file.id)
        assert (gone.id, gone.deleted) == (file.id, True)
        with pytest.raises(openai.NotFoundError):
            await ai.files.retrieve(file.id)


async def test_a_file_may_expire_earlier() -> None:
    async with running(greet) as server, client(server) as ai:
        file = await ai.files.create(
            file=("a.txt", b"x"),
            purpose="assistants",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert file.expires_at - file.created_at == 3600


async def test_lists_have_order_pages_and_purposes() -> None:
    async with running(greet) as server, client(server) as ai:
        ids = []
        for number in range(5):
            purpose = "vision" if number == 2 else "user_data"
            file = await ai.files.create(file=(f"{number}.txt", b"x"), purpose=purpose)
            ids.append(file.id)
        first = await ai.files.list(limit=2, order="asc")
        assert [one.id for one in first.data] == ids[:2]
        assert first.has_more
        rest = await ai.files.list(after=ids[1], order="asc")
        assert [one.id for one in rest.data] == ids[2:]
        assert not rest.has_more
        assert [one.id async for one in ai.files.list(limit=2)] == ids[::-1]
        assert [one.id async for one in ai.files.list(purpose="vision")] == [ids[2]]
        with pytest.raises(openai.BadRequestError):
            await ai.files.list(after="file-none")


@pytest.mark.parametrize("purpose", ["batch", "fine-tune", "wizardry"])
async def test_purposes_that_nothing_here_serves_are_refused(purpose) -> None:
    async with running(greet) as server, client(server) as ai:
        with pytest.raises(openai.BadRequestError) as refused:
            await ai.files.create(file=("a.jsonl", b"{}"), purpose=purpose)
        assert refused.value.param == "purpose"
        assert server.gateway.files.quota.files == 0


async def test_one_key_sees_nothing_of_another() -> None:
    async with running(greet, api_keys=KEYS) as server, client(server) as alice:
        file = await alice.files.create(file=("a.txt", b"x"), purpose="user_data")
        async with client(server, "other-other-other-other") as bob:
            assert (await bob.files.list()).data == []
            for attempt in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError):
                    await attempt(file.id)


async def test_both_protocols_see_one_store() -> None:
    async with running(greet, api_keys=KEYS) as server, client(server) as ai:
        options = types.HttpOptions(
            base_url=server.url, async_client_args={"transport": httpx.AsyncHTTPTransport()}
        )
        key = "right-right-right-right"
        async with genai.Client(api_key=key, http_options=options).aio as gemini:
            uploaded = await gemini.files.upload(
                file=io.BytesIO(b"hello"), config={"mime_type": "text/plain"}
            )
            (seen,) = (await ai.files.list()).data
            assert seen.id == "file-" + uploaded.name.removeprefix("files/")
            assert (await ai.files.content(seen.id)).content == b"hello"
            file = await ai.files.create(file=("b.txt", b"x"), purpose="user_data")
            names = [one.name async for one in await gemini.files.list()]
            assert names == [file.id.replace("file-", "files/"), uploaded.name]


def form(*parts: tuple[str, bytes], boundary: bytes = b"xyz") -> bytes:
    body = b""
    for disposition, content in parts:
        head = f"\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
        body += b"--" + boundary + head + content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


FILE = ('name="file"; filename="a.txt"', b"hello")
PURPOSE = ('name="purpose"', b"user_data")
WHOLE = form(FILE, PURPOSE)


async def post(server, body: bytes, kind: str = "multipart/form-data; boundary=xyz"):
    async with httpx.AsyncClient() as http:
        return await http.post(
            f"{server.url}/v1/files", content=body, headers={"content-type": kind}
        )


async def test_the_purpose_may_come_after_the_file() -> None:
    async with running(greet) as server:
        reply = await post(server, WHOLE)
        assert reply.status_code == 200, reply.text
        assert reply.json()["bytes"] == 5


@pytest.mark.parametrize(
    "body",
    [
        b"",
        form(),
        form(PURPOSE),
        form(FILE),
        form(FILE, FILE, PURPOSE),
        form(PURPOSE, PURPOSE, FILE),
        form(PURPOSE, FILE, ('name="colour"', b"red")),
        form(PURPOSE, ('name="file"', b"no name")),
        form(PURPOSE, (f'name="file"; filename="{"a" * 600}"', b"")),
        form(PURPOSE, FILE, ('name="expires_after[seconds]"', b"3600")),
        form(PURPOSE, FILE, ('name="expires_after[anchor]"', b"created_at"),
             ('name="expires_after[seconds]"', b"5")),
        form(*[(f'name="f{number}"', b"") for number in range(40)]),
        form(PURPOSE, FILE, boundary=b"other"),
        b"--xyz\r\n" + b"a: b\r\n" * 100 + b"\r\n--xyz--",
        b"--xyz\r\na: " + b"b" * 100_000,
        WHOLE[:-30],
        WHOLE[:-4],
        WHOLE[:60],
    ],
)  # fmt: skip
async def test_a_form_that_makes_no_sense_is_refused_and_nothing_of_it_stays(body) -> None:
    async with running(greet) as server:
        reply = await post(server, body)
        assert reply.status_code == 400, reply.text
        error = reply.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert "\n" not in error["message"]
        assert server.gateway.files.quota.files == 0
        assert server.gateway.files.uploads == set()


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", "multipart/mixed; boundary=xyz", f"multipart/form-data; boundary={'x' * 300}"])  # noqa: E501  # fmt: skip
async def test_a_body_that_is_no_form_is_refused(kind) -> None:
    async with running(greet) as server:
        assert (await post(server, WHOLE, kind)).status_code == 400


async def test_a_field_is_bounded_though_a_file_may_be_large() -> None:
    async with running(greet) as server:
        reply = await post(server, form(('name="purpose"', b"x" * 100_000), FILE))
        assert reply.status_code == 413


async def test_a_file_that_is_too_large_is_refused_while_it_comes_in() -> None:
    async with running(greet, max_file_bytes=1000) as server:
        large = ('name="file"; filename="a.txt"', b"x" * 1001)
        reply = await post(server, form(PURPOSE, large))
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "file_too_large"
        assert server.gateway.files.quota.bytes == 0
        # Far larger: refused by what it announces.
        reply = await post(server, b"x" * 3_000_000)
        assert reply.json()["error"]["code"] == "request_too_large"


async def test_a_path_in_a_name_is_a_name() -> None:
    async with running(greet) as server:
        part = ('name="file"; filename="../../etc/passwd"', b"hello")
        file = (await post(server, form(PURPOSE, part))).json()
        async with httpx.AsyncClient() as http:
            got = await http.get(f"{server.url}/v1/files/{file['id']}/content")
            assert got.content == b"hello"
            for bad in ("..", "%2e%2e%2fx", "file-..%2f..", "file-", "file-A"):
                reply = await http.get(f"{server.url}/v1/files/{bad}")
                assert reply.status_code == 404
