"""hf:owner/name, against a hub of our own and against a cache without a network.

huggingface_hub reads its environment when it is imported, so each case is a process.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from model.checkpoints import open_checkpoint
from model.checkpoints.hub import Reference, parse
from tests.model.checkpoints.tiny import PARITY

COMMIT = "1234567890" * 4
RESOLVE = """
import sys
from model.checkpoints.catalogue import resolve
from model.checkpoints.errors import FetchFailed, UnknownModel
try:
    found = resolve(sys.argv[1])
    print(found.name, found.path, sep="\\n")
except (FetchFailed, UnknownModel) as error:
    print(type(error).__name__, error, sep="\\n")
"""


def resolved(name: str, home: Path, **environment: str) -> list[str]:
    """(served name, path) or (error, its message)."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, name],
        env=clean | {"HF_HOME": str(home), "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | environment,
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done
    return lines


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("hf:owner/name", Reference("owner/name")),
        ("hf:owner/na.me@v1.0", Reference("owner/na.me", "v1.0")),
        ("hf:o/n:a.Q4.gguf", Reference("o/n", None, "a.Q4.gguf")),
        ("hf:o/n@refs/pr/1:sub/a.gguf", Reference("o/n", "refs/pr/1", "sub/a.gguf")),
    ],
)
def test_references_have_three_parts(name: str, reference: Reference) -> None:
    assert parse(name) == reference


def test_references_are_served_under_the_last_of_their_names() -> None:
    assert parse("hf:owner/name@v1").served_name == "name"
    assert parse("hf:owner/name:sub/a.Q4.gguf").served_name == "a.Q4"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download takes."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/api/models/owner/tiny/revision/v9"):
            return self._missing("RevisionNotFound")
        if path.startswith("/api/models/owner/tiny"):
            siblings = [{"rfilename": name} for name in self.files]
            info = {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings}
            if "/tree/" in path:
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": name}
                    for name, data in self.files.items()
                ]
                return self._send(json.dumps(tree).encode(), with_body=with_body)
            return self._send(json.dumps(info).encode(), with_body=with_body)
        if path.startswith("/owner/tiny/resolve/"):
            name = path.split("/", 5)[5]
            if name in self.files:
                self.asked.append(name)
                return self._send(self.files[name], with_body=with_body, etag=name)
            return self._missing("EntryNotFound")
        return self._missing("RepoNotFound")

    def _send(self, body: bytes, *, with_body: bool, etag: str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag is not None:
            self.send_header("ETag", f'"{etag}"')
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def hub() -> Iterator[str]:
    """The address of a hub with one repository, owner/tiny."""
    folder = PARITY / "llama"
    Hub.files = {path.name: path.read_bytes() for path in folder.iterdir()}
    Hub.files |= {
        "pytorch_model.bin": b"pickle",
        "onnx/model.onnx": b"other",
        "tiny.gguf": (PARITY / "llama.gguf").read_bytes(),
    }
    Hub.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_repository_comes_as_a_folder_without_what_is_not_needed(
    hub: str, tmp_path: Path
) -> None:
    name, path = resolved("hf:owner/tiny", tmp_path, HF_ENDPOINT=hub)

    assert name == "tiny"
    assert open_checkpoint(Path(path)).spec == open_checkpoint(PARITY / "llama").spec
    assert set(Hub.asked) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_one_gguf_file_comes_alone(hub: str, tmp_path: Path) -> None:
    name, path = resolved("hf:owner/tiny@main:tiny.gguf", tmp_path, HF_ENDPOINT=hub)

    assert name == "tiny"
    assert open_checkpoint(Path(path)).spec.family == "llama"
    assert set(Hub.asked) == {"tiny.gguf"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hf:owner/other", "hf:owner/other: the hub has no such repository"),
        ("hf:owner/tiny:no.gguf", "hf:owner/tiny: the repository has no file no.gguf"),
        ("hf:owner/tiny@v9", "hf:owner/tiny: the repository has no revision v9"),
    ],
)
def test_what_the_hub_does_not_have_is_told_in_one_line(
    name: str, message: str, hub: str, tmp_path: Path
) -> None:
    error, told = resolved(name, tmp_path, HF_ENDPOINT=hub)
    assert error == "FetchFailed"
    assert told.startswith(message)


def test_a_repository_of_gguf_files_asks_which(hub: str, tmp_path: Path) -> None:
    Hub.files = {"a.gguf": b"", "b.gguf": b""}
    error, message = resolved("hf:owner/tiny", tmp_path, HF_ENDPOINT=hub)
    assert (error, "name it: hf:owner/tiny:file.gguf" in message) == ("FetchFailed", True)


def test_without_a_network_the_hub_s_cache_is_used(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--owner--tiny"
    shutil.copytree(PARITY / "qwen2", repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)

    name, path = resolved("hf:owner/tiny", tmp_path, HF_HUB_OFFLINE="1")
    assert name == "tiny"
    assert open_checkpoint(Path(path)).spec.family == "qwen2"

    error, message = resolved("hf:owner/other", tmp_path, HF_HUB_OFFLINE="1")
    assert error == "FetchFailed"
    assert message == (
        "hf:owner/other: not in the local cache, and the hub is out of reach or switched off"
    )
