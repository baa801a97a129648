"""Gemini's Files API: the unmodified client on every transport, and the protocol by hand."""

import asyncio
import base64
import hashlib
import io
import json
import os
from contextlib import asynccontextmanager

import httpx
import pytest
from google import genai
from google.genai import errors, types

from tests.service.support import eventually, running

KEY = "right-right-right-right"
KEYS = f"alice={KEY},bob=other-other-other-other"
BOB = {"x-goog-api-key": "other-other-other-other"}
ALICE = {"x-goog-api-key": KEY}
LARGE = 20 * 1024 * 1024
"""Three of the client's chunks."""

START = {
    "x-goog-upload-protocol": "resumable",
    "x-goog-upload-command": "start",
    "x-goog-upload-header-content-type": "text/plain",
}


def greet(group, path):
    return "hello"


@asynccontextmanager
async def opened(url: str, transport: str, **options):
    if transport == "aiohttp":
        pytest.importorskip("aiohttp")
    args = {"transport": httpx.AsyncHTTPTransport()} if transport == "httpx" else None
    http = types.HttpOptions(base_url=url, async_client_args=args, **options)
    async with genai.Client(api_key=KEY, http_options=http).aio as client:
        yield client


@pytest.mark.parametrize("transport", ["httpx", "aiohttp"])
async def test_the_official_client_uploads_lists_reads_and_deletes(transport, tmp_path) -> None:
    content = os.urandom(LARGE)
    path = tmp_path / "large.txt"
    path.write_bytes(content)
    async with running(greet, api_keys=KEYS) as server, opened(server.url, transport) as client:
        config = types.UploadFileConfig(display_name="große Datei 文件")
        file = await client.files.upload(file=path, config=config)
        assert file.state is types.FileState.ACTIVE
        assert file.source is types.FileSource.UPLOADED
        assert (file.mime_type, file.size_bytes) == ("text/plain", LARGE)
        assert file.display_name == "große Datei 文件"
        assert base64.b64decode(file.sha256_hash) == hashlib.sha256(content).digest()
        assert (file.expiration_time - file.create_time).total_seconds() == 48 * 3600
        assert await client.files.get(name=file.name) == file
        assert [one.name async for one in await client.files.list()] == [file.name]
        assert await client.files.download(file=file) == content
        await client.files.delete(name=file.name)
        with pytest.raises(errors.ClientError) as gone:
            await client.files.get(name=file.name)
        assert (gone.value.code, gone.value.status) == (404, "NOT_FOUND")


@pytest.mark.parametrize("prefix", ["", "/gemini"])
@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_the_synchronous_client_works_with_every_prefix(prefix, version) -> None:
    async with running(greet, api_keys=KEYS) as server:
        options = types.HttpOptions(base_url=server.url + prefix, api_version=version)

        def use() -> None:
            with genai.Client(api_key=KEY, http_options=options) as client:
                empty = client.files.upload(
                    file=io.BytesIO(b""), config={"mime_type": "text/csv", "name": "nothing"}
                )
                assert (empty.name, empty.size_bytes) == ("files/nothing", 0)
                again = client.files.get(name="files/nothing")
                assert again == empty
                assert client.files.download(file="files/nothing") == b""
                with pytest.raises(errors.ClientError) as taken:
                    client.files.upload(
                        file=io.BytesIO(b""), config={"mime_type": "text/csv", "name": "nothing"}
                    )
                assert taken.value.status == "ALREADY_EXISTS"
                client.files.delete(name="nothing")

        # The client takes the host of its base and the path of the upload's address.
        await asyncio.to_thread(use)


async def test_pages_hold_when_files_are_deleted_between_them() -> None:
    async with running(greet) as server, opened(server.url, "httpx") as client:
        config = {"mime_type": "text/plain"}
        names = [
            (await client.files.upload(file=io.BytesIO(b"x"), config=config)).name for _ in range(5)
        ]
        pager = await client.files.list(config={"page_size": 2})
        assert [one.name for one in pager.page] == names[:2:-1]
        await client.files.delete(name=names[3])
        await pager.next_page()
        assert [one.name for one in pager.page] == [names[2], names[1]]
        await pager.next_page()
        assert [one.name for one in pager.page] == [names[0]]


# --- the protocol by hand ------------------------------------------------------------------------


@asynccontextmanager
async def started(server, size: int | None = None, body: object = None, **headers: str):
    announced = {} if size is None else {"x-goog-upload-header-content-length": str(size)}
    async with httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/upload/v1beta/files",
            headers={**START, **ALICE, **announced, **headers},
            json=body or {},
        )
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-goog-upload-status"] == "active"

        async def send(command: str, content: bytes = b"", offset: int | None = None, **more):
            place = {} if offset is None else {"x-goog-upload-offset": str(offset)}
            return await http.post(
                reply.headers["x-goog-upload-url"],
                headers={"x-goog-upload-command": command, **place, **more},
                content=content,
            )

        yield send


async def test_an_upload_goes_on_after_a_lost_chunk() -> None:
    async with running(greet, api_keys=KEYS) as server, started(server, 10) as send:
        first = await send("upload", b"hello", 0)
        assert first.headers["x-goog-upload-status"] == "active"
        for wrong in (0, 4, 6, 10):
            lost = await send("upload, finalize", b"world", wrong)
            assert lost.status_code == 400
            assert lost.headers["x-goog-upload-status"] == "active"
            assert lost.headers["x-goog-upload-size-received"] == "5"
        early = await send("finalize")
        assert early.status_code == 400
        assert early.headers["x-goog-upload-status"] == "active"
        asked = await send("query")
        assert asked.status_code == 200
        assert asked.headers["x-goog-upload-size-received"] == "5"
        last = await send("upload, finalize", b"world", 5)
        assert last.headers["x-goog-upload-status"] == "final"
        file = last.json()["file"]
        assert file["sizeBytes"] == "10"
        assert base64.b64decode(file["sha256Hash"]) == hashlib.sha256(b"helloworld").digest()
        # A client that never saw the last reply asks.
        again = await send("query")
        assert again.headers["x-goog-upload-status"] == "final"
        assert again.json() == last.json()
        over = await send("upload", b"x", 10)
        assert over.status_code == 400
        assert over.headers["x-goog-upload-status"] == "final"


async def test_a_chunk_whose_connection_broke_counts_as_far_as_it_came() -> None:
    async with running(greet) as server, started(server, 10) as send:
        asked = await send("query")
        address = asked.request.url
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw_chunk(address, 0, 10) + b"hello w")
        await writer.drain()
        (upload,) = server.gateway.files.uploads
        await eventually(lambda: upload.busy)
        writer.close()
        await eventually(lambda: not upload.busy)
        asked = await send("query")
        assert asked.headers["x-goog-upload-size-received"] == "7"
        last = await send("upload, finalize", b"rld", 7)
        assert last.json()["file"]["sizeBytes"] == "10"


async def test_a_cancelled_upload_leaves_nothing() -> None:
    async with running(greet) as server, started(server) as send:
        await send("upload", b"hello", 0)
        assert (await send("cancel")).headers["x-goog-upload-status"] == "cancelled"
        after = await send("upload", b"x", 5)
        assert after.status_code == 404
        assert after.headers["x-goog-upload-status"] == "final"
        assert (server.gateway.files.quota.files, server.gateway.files.quota.bytes) == (0, 0)


async def test_bytes_beyond_those_announced_end_the_upload() -> None:
    async with running(greet) as server, started(server, 3) as send:
        reply = await send("upload, finalize", b"four", 0)
        assert reply.status_code == 400
        assert reply.headers["x-goog-upload-status"] == "cancelled"
        assert "more bytes came than the 3" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"x-goog-upload-command": "upload"}, {}, "begins with"),
        ({"x-goog-upload-protocol": "raw"}, {}, "resumable"),
        ({"x-goog-upload-header-content-length": "-1"}, {}, "number of bytes"),
        ({"x-goog-upload-header-content-length": "9" * 30}, {}, "number of bytes"),
        ({"x-goog-upload-header-content-type": "nonsense"}, {}, "MIME type"),
        ({}, {"file": {"name": "files/../x"}}, "a name is files/"),
        ({}, {"file": {"name": "files/Upper"}}, "a name is files/"),
        ({}, {"file": {"name": "x"}}, "a name is files/"),
        ({}, {"file": {"colour": "red"}}, "file.colour"),
        ({}, {"colour": "red"}, "colour"),
        ({}, {"file": {"display_name": "x" * 513}}, "file.displayName"),
        ({"host": "a b"}, {}, "Host"),
        ({"host": "evil/x"}, {}, "Host"),
    ],
)
async def test_a_start_that_makes_no_sense_is_refused_in_a_line(headers, body, said) -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/upload/v1beta/files"
        reply = await http.post(url, headers={**START, **headers}, json=body)
        assert reply.status_code == 400
        assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"
        assert said in reply.json()["error"]["message"]
        assert server.gateway.files.quota.files == 0


async def test_a_description_is_bounded_though_a_file_may_be_large() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(
            f"{server.url}/upload/v1/files", headers=START, content=b" " * (2 * 1024 * 1024)
        )
        assert reply.status_code == 413


async def test_a_file_that_is_too_large_is_refused_at_its_start() -> None:
    async with running(greet, max_file_bytes=1000) as server, httpx.AsyncClient() as http:
        headers = {**START, "x-goog-upload-header-content-length": "1001"}
        reply = await http.post(f"{server.url}/upload/v1/files", headers=headers, json={})
        assert reply.status_code == 413
        assert "1000 bytes" in reply.json()["error"]["message"]


async def test_the_upload_address_is_the_public_one() -> None:
    public = "https://pollux.example.org/api"
    async with running(greet, public_url=public + "/") as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/gemini/upload/v1/files", headers=START, json={})
        address = reply.headers["x-goog-upload-url"]
        assert address.startswith(f"{public}/gemini/upload/v1/files?upload_id=")
        sent = await http.post(
            address.replace(public, server.url),
            headers={"x-goog-upload-command": "upload, finalize", "x-goog-upload-offset": "0"},
            content=b"x",
        )
        assert sent.json()["file"]["uri"].startswith(f"{public}/v1beta/files/")


def related(parts: list[tuple[str, bytes]], boundary: bytes = b"xyz") -> bytes:
    body = b""
    for kind, content in parts:
        body += b"--" + boundary + b"\r\nContent-Type: " + kind.encode() + b"\r\n\r\n"
        body += content + b"\r\n"
    return body + b"--" + boundary + b"--\r\n"


RELATED = {"content-type": "multipart/related; boundary=xyz"}


async def test_description_and_content_may_come_in_one_request() -> None:
    meta = json.dumps({"file": {"displayName": "notes"}}).encode()
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        url = f"{server.url}/upload/v1beta/files?uploadType=multipart"
        body = related([("application/json", meta), ("text/markdown", b"# hi\r\n--xy")])
        reply = await http.post(url, headers={**ALICE, **RELATED}, content=body)
        assert reply.status_code == 200, reply.text
        file = reply.json()["file"]
        assert (file["displayName"], file["mimeType"]) == ("notes", "text/markdown")
        got = await http.get(
            f"{server.url}/v1beta/{file['name']}:download?alt=media", headers=ALICE
        )
        assert got.content == b"# hi\r\n--xy"
        assert got.headers["content-type"] == "text/markdown"
        assert got.headers["x-content-type-options"] == "nosniff"
        assert got.headers["content-disposition"].startswith("attachment")
        for broken in (
            related([("application/json", meta)]),
            related([("application/json", b"{")] * 2),
            related([("application/json", meta), ("text/plain", b"a"), ("text/plain", b"b")]),
            body[:-10],
            b"",
        ):
            refused = await http.post(url, headers={**ALICE, **RELATED}, content=broken)
            assert refused.status_code == 400, broken
        assert server.gateway.files.quota.files == 1


async def test_what_google_keeps_elsewhere_is_refused() -> None:
    async with running(greet) as server, httpx.AsyncClient() as http:
        reply = await http.post(f"{server.url}/v1beta/files:register", json={"uris": ["gs://a/b"]})
        assert reply.status_code == 400
        assert "Cloud Storage" in reply.json()["error"]["message"]
        url = f"{server.url}/v1/files"
        reply = await http.post(url, json={"file": {}}, headers={"x-goog-api-key": "none"})
        assert "/upload/v1beta/files" in reply.json()["error"]["message"]


# --- the door ------------------------------------------------------------------------------------


async def test_only_bytes_of_an_upload_come_in_without_a_key() -> None:
    async with running(greet, api_keys=KEYS) as server, started(server, 5) as send:
        async with httpx.AsyncClient() as http:
            address = (await send("query")).request.url
            for method, url, headers in (
                ("POST", f"{server.url}/upload/v1beta/files", START),
                ("POST", f"{server.url}/upload/v1beta/files?upload_id=", START),
                ("POST", f"{server.url}/upload/v1beta/files?upload_id={'a' * 42}", START),
                ("POST", f"{address}&upload_id={'a' * 43}", START),
                ("GET", str(address), {}),
                ("GET", f"{server.url}/v1beta/files?{address.query.decode()}", {}),
                ("DELETE", f"{server.url}/v1beta/files/x?{address.query.decode()}", {}),
                ("POST", f"{server.url}/v1/files?{address.query.decode()}", {}),
                ("POST", f"{server.url}/v1/chat/completions?{address.query.decode()}", {}),
            ):
                reply = await http.request(method, url, headers=headers)
                assert reply.status_code == 401, url
            unknown = f"{server.url}/upload/v1beta/files?upload_id={'a' * 43}"
            reply = await http.post(unknown, headers={**START, "x-goog-upload-command": "query"})
            assert reply.status_code == 404
            # An id begins no upload.
            reply = await http.post(unknown, headers=START, json={})
            assert reply.status_code == 404
            reply = await http.post(str(address), headers=START, json={})
            assert reply.status_code == 400
        page = await send("upload, finalize", b"hello", 0, origin="https://evil.example")
        assert page.status_code == 403
        done = await send("upload, finalize", b"hello", 0)
        assert done.status_code == 200


async def test_a_start_costs_its_key_a_request_and_chunks_do_not() -> None:
    async with running(greet, api_keys=KEYS) as server, httpx.AsyncClient() as http:
        async with started(server, 5) as send:
            await send("upload", b"hel", 0)
            await send("upload, finalize", b"lo", 3)
        metrics = (await http.get(f"{server.url}/metrics")).text
        (line,) = [one for one in metrics.splitlines() if 'key_requests_total' in one
                   and 'key_name="alice"' in one]  # fmt: skip
        assert line.endswith(" 1.0")


async def test_files_of_one_key_are_not_there_for_another() -> None:
    async with running(greet, api_keys=KEYS) as server, started(server, 5) as send:
        name = (await send("upload, finalize", b"hello", 0)).json()["file"]["name"]
        async with httpx.AsyncClient(base_url=server.url, headers=BOB) as bob:
            for reply in (
                await bob.get(f"/v1beta/{name}"),
                await bob.get(f"/v1beta/{name}:download?alt=media"),
                await bob.delete(f"/v1beta/{name}"),
            ):
                assert reply.status_code == 404
            assert (await bob.get("/v1beta/files")).json() == {}
        async with httpx.AsyncClient(base_url=server.url, headers=ALICE) as alice:
            assert (await alice.get(f"/v1beta/{name}")).status_code == 200


def raw_chunk(address: httpx.URL, offset: int, length: int) -> bytes:
    head = (
        f"POST {address.raw_path.decode()} HTTP/1.1\r\nhost: {address.netloc.decode()}\r\n"
        f"x-goog-upload-command: upload\r\nx-goog-upload-offset: {offset}\r\n"
        f"content-length: {length}\r\n\r\n"
    )
    return head.encode()


async def test_an_upload_that_creeps_is_cut_and_goes_on_with_a_request_that_flows() -> None:
    async with running(greet, body_timeout=0.2) as server, started(server, 65536) as send:
        address = (await send("query")).request.url
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(raw_chunk(address, 0, 65536) + b"x")
        cut = await reader.read()
        writer.close()
        assert cut.startswith(b"HTTP/1.1 408")
        assert b"x-goog-upload-size-received: 1\r\n" in cut

        async def flowing():
            yield bytes(32768)  # worth two seconds
            await asyncio.sleep(0.4)
            yield bytes(32767)

        done = await send("upload, finalize", flowing(), 1)
        assert done.status_code == 200


async def test_metrics_tell_files_bytes_and_uploads() -> None:
    async with running(greet) as server, started(server) as send, started(server):
        await send("upload, finalize", b"hello", 0)
        async with httpx.AsyncClient() as http:
            lines = (await http.get(f"{server.url}/metrics")).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("pollux:file"))
    found = {name.partition("{")[0]: value for name, value in values.items()}
    assert found == {
        "pollux:files": "1.0",
        "pollux:files_bytes": "5.0",
        "pollux:file_uploads": "1.0",
    }
