"""`pollux serve` before it opens the door, `pollux keys`, and `pollux ask` with a key."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from service.commands.client_headers import default_url
from service.commands.serve import bind
from service.guard.key_sources import keys_in_file
from service.guard.keys import digest_of
from service.guard.limits import Limits
from service.tls import self_signed
from tests.service.support import MODEL, running, settings_of
from tests.service.test_cli import ROOT, one_line, pollux

KEY = "right-right-right-right"


def serve(*arguments: str, **environment: str):
    """Of a model that there is not, so that it ends when the door is found right."""
    return pollux("serve", "--port", "0", "--model", "nope", *arguments, **environment)


def passed_the_door(result) -> bool:
    return result.exit_code == 2 and "unknown model" in one_line(result)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_that_others_reach_needs_keys_or_a_word(host: str) -> None:
    refused = serve("--host", host)
    assert refused.exit_code == 2
    line = one_line(refused)
    for way in ("pollux keys new", "--api-keys-file", "POLLUX_API_KEYS", "--allow-open"):
        assert way in line
    assert serve("--host", host, POLLUX_API_KEYS=" , ").exit_code == 2
    assert one_line(serve("--host", host, POLLUX_API_KEYS=" , ")) == line


def test_with_keys_or_the_word_any_address_will_do(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    pollux("keys", "new", "alice", "--file", str(file))
    everywhere = ("--host", "0.0.0.0")
    assert passed_the_door(serve(*everywhere, POLLUX_API_KEYS=KEY))
    assert passed_the_door(serve(*everywhere, "--api-keys-file", str(file)))
    assert passed_the_door(serve(*everywhere, "--allow-open"))
    assert passed_the_door(serve(*everywhere, POLLUX_ALLOW_OPEN="1"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machines_own_addresses_need_neither(host: str) -> None:
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.bind(address)
    except OSError:
        pytest.skip(f"{host} is no address of this machine")
    with bind(settings_of(host=host)) as listener:
        assert listener.getsockname()[1] > 0


def test_a_link_local_address_is_no_loopback() -> None:
    assert serve("--host", "fe80::1%lo").exit_code == 2


@pytest.mark.parametrize("content", [None, "", "# nobody\n", "key\n", '{"name": "a"}\n'])
def test_a_file_without_usable_keys_is_told_before_anything_else(tmp_path, content) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    refused = serve("--api-keys-file", str(file))
    assert refused.exit_code == 2
    assert str(file) in one_line(refused)


def test_bad_keys_in_the_variable_are_told_and_not_shown() -> None:
    refused = serve(POLLUX_API_KEYS=f"{KEY},short")
    assert refused.exit_code == 2
    assert "API key 2" in one_line(refused)
    assert KEY not in refused.output
    refused = serve(POLLUX_API_KEYS=f"a={KEY},a={KEY}x")
    assert "two keys are named 'a'" in one_line(refused)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tls-cert", "x"], "go together"),
        (["--tls-key", "x"], "go together"),
        (["--tls-cert", "x", "--tls-key", "y"], "cannot read x"),
        (["--tls-cert", "x", "--tls-key", "y", "--tls-self-signed"], "leave --tls-cert"),
        (["--cors-origins", "example.org"], "--cors-origins"),
    ],
)
def test_a_door_that_cannot_be_is_one_line(arguments, complaint) -> None:
    refused = serve(*arguments)
    assert refused.exit_code == 2
    assert complaint in one_line(refused)


def test_a_self_signed_certificate_is_made_in_the_cache_and_shown(tmp_path: Path) -> None:
    made = serve("--tls-self-signed", "--cache", str(tmp_path))
    cert = tmp_path / "tls" / "localhost.crt"
    assert cert.exists()
    assert f"SSL_CERT_FILE={cert}" in made.stderr
    (tmp_path / "file").touch()
    refused = serve("--tls-self-signed", "--cache", str(tmp_path / "file"))
    assert refused.exit_code == 1
    assert "cannot make a certificate" in one_line(refused)


def test_a_new_key_is_printed_once_with_its_line() -> None:
    made = pollux("keys", "new", "alice", "--requests-per-minute", "60")
    assert made.exit_code == 0
    key, line = made.stdout.splitlines()
    assert digest_of(key.encode()).hex() in line
    assert key not in line
    assert '"requests_per_minute":60' in line


def test_a_new_key_goes_into_the_file_without_being_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    made = pollux(
        "keys", "new", "alice", "--file", str(file), "--requests-per-minute", "6",
        "--tokens-per-minute", "7", "--concurrent-sequences", "8",
    )  # fmt: skip
    key = made.stdout.strip()
    assert "\n" not in key, "only the key, for a script to take"
    [kept] = keys_in_file(file)
    assert (kept.name, kept.digest) == ("alice", digest_of(key.encode()))
    assert kept.limits == Limits(6, 7, 8)
    assert key not in file.read_text()
    again = pollux("keys", "new", "alice", "--file", str(file))
    assert again.exit_code == 1
    assert "already" in one_line(again)
    assert again.stdout == ""


@pytest.mark.parametrize("arguments", [["a b"], [""], ["é"], ["a", "--requests-per-minute", "0"]])
def test_a_key_that_cannot_be_is_refused(arguments) -> None:
    refused = pollux("keys", "new", *arguments)
    assert refused.exit_code == 2
    assert refused.stdout == ""


async def test_ask_sends_its_key_and_says_when_it_is_wrong() -> None:
    async with running(lambda g, p: "hello you", api_keys=KEY) as server:

        async def ask(**environment: str):
            arguments = ("ask", "hi", "--no-routing", "--url", server.url)
            return await asyncio.to_thread(pollux, *arguments, **environment)

        answered = await ask(POLLUX_API_KEY=KEY)
        assert answered.stdout.startswith("hello you\n")
        assert "an API key is needed" in one_line(await ask())
        assert "not one of this server's" in one_line(await ask(POLLUX_API_KEY="other"))
        assert "POLLUX_API_KEY" in one_line(await ask(POLLUX_API_KEY="é"))


def test_ask_looks_where_the_same_environment_would_serve() -> None:
    assert default_url(settings_of(port=1)) == "http://127.0.0.1:1"
    assert default_url(settings_of(port=1, host="::1", tls_self_signed=True)) == "https://[::1]:1"
    assert default_url(settings_of(port=1, tls_cert="x")) == "https://127.0.0.1:1"


SERVER = """
import sys
from service.commands.serve import bind, run
from tests.scripted import ScriptedWorker
from tests.service.support import MODEL, ScriptedBackend, card, settings_of, tiny_text

text = tiny_text()
settings = settings_of(tls_cert=sys.argv[1], tls_key=sys.argv[2])
backend = ScriptedBackend(ScriptedWorker(lambda g, p: "hello"), text, card(text))
sys.exit(run(settings, backend, MODEL, bind(settings)))
"""


def test_the_address_that_is_shown_is_one_to_use(tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    command = [sys.executable, "-c", SERVER, str(cert), str(key)]
    environment = {**os.environ, "SSL_CERT_FILE": str(cert)}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            banner = process.stderr.readline()
            assert banner.startswith(f"Pollux serves {MODEL} at https://127.0.0.1:")
            url = banner.split()[-1]
            context = ssl.create_default_context(cafile=str(cert))
            assert httpx.get(f"{url}/healthz", verify=context).status_code == 200
            asked = subprocess.run(
                [sys.executable, "-c", "from service.cli import main; main()", "ask", "hi",
                 "--no-routing", "--url", url],
                cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
            )  # fmt: skip
            assert asked.stdout.startswith("hello\n"), asked.stderr
        finally:
            process.terminate()
    assert process.returncode == 0
