"""What `pollux serve` says of settings for files that cannot be, and what logs hide."""

from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from service.files.shelf import Shelf
from tests.service.files.test_gemini_files import START
from tests.service.log_support import written
from tests.service.support import running, settings_of
from tests.service.test_door_commands import one_line, serve


def test_a_folder_that_cannot_be_one_ends_the_command_with_a_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    refused = serve(POLLUX_FILES_DIR=str(file))
    assert refused.exit_code == 2
    assert str(file) in one_line(refused)


def test_a_folder_that_another_server_uses_ends_it_too(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    refused = serve(POLLUX_FILES_DIR=str(tmp_path))
    shelf.close()
    assert refused.exit_code == 2
    assert "used by another process" in one_line(refused)


@pytest.mark.parametrize(
    "address",
    ["example.org", "ftp://example.org", "https://", "https://a b", "https://u:p@example.org",
     "https://example.org?x", "https://example.org#x"],
)  # fmt: skip
def test_a_public_url_is_an_address(address: str) -> None:
    with pytest.raises(ValidationError, match="address"):
        settings_of(public_url=address)


def test_a_public_url_may_have_a_port_and_a_path() -> None:
    assert settings_of(public_url="https://[::1]:8443/a/b/").public_url == "https://[::1]:8443/a/b"


async def test_the_log_hides_what_lets_bytes_in() -> None:

    with written() as log:
        async with running(lambda g, p: "x") as server, httpx.AsyncClient() as http:
            reply = await http.post(f"{server.url}/upload/v1/files", headers=START, json={})
            address = reply.headers["x-goog-upload-url"]
            await http.post(address, headers={"x-goog-upload-command": "query"})
        seen = log.requests()
    secret = address.partition("upload_id=")[2].partition("&")[0]
    assert len(secret) == 43
    assert len(seen) == 2
    assert secret not in log.text()
