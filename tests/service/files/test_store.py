"""What is kept, for whom and for how long: on a real disk."""

import asyncio
import errno
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ApiError
from service.files.shelf import BadFilesFolder, Shelf, Writer
from service.files.store import MAX_KEY_UPLOADS, MAX_UPLOADS, UPLOAD_LIFETIME_S
from service.files.uploads import WRITE_BYTES
from tests.service.files.support import HOUR, Now, chunks, names_in, put, stores, wanted
from tests.service.files.support import store_in as open_store


@pytest.fixture
async def store_in():
    """Stores that end with the test, their uploads as well."""
    async with stores() as make:
        yield make


async def test_a_file_comes_back_as_it_was_sent(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    record = await put(store, b"hel", b"", b"lo", owner="ann", filename="a.txt")
    assert record.size == 5
    assert record.sha256 == hashlib.sha256(b"hello").hexdigest()
    assert record.uri == f"http://here/v1beta/files/{record.id}"
    assert await store.read(record) == b"hello"
    assert store.find("ann", record.id) == record


def size_of_parts(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.part"))


async def test_a_large_file_is_written_while_it_comes_in(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path, file_bytes=2**24, bytes=2**24)
    upload = await store.begin(None, wanted())
    seen: list[int] = []

    async def watched():
        for _ in range(5):
            yield bytes(WRITE_BYTES)
            seen.append(size_of_parts(tmp_path))

    await store.receive(upload, watched())
    assert seen == [WRITE_BYTES * (n + 1) for n in range(5)]


async def test_what_one_key_has_is_not_there_for_others(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    record = await put(store, b"secret", owner="ann")
    for other in ("bob", None):
        assert store.find(other, record.id) is None
        assert store.newest(other) == []
        assert not await store.delete(other, record.id)
    assert store.newest("ann") == [record]


async def test_two_keys_may_choose_the_same_name_and_one_key_only_once(
    tmp_path: Path, store_in
) -> None:
    store = store_in(tmp_path)
    await put(store, b"a", owner="ann", id="notes")
    await put(store, b"b", owner="bob", id="notes")
    with pytest.raises(ApiError) as refused:
        await put(store, b"c", owner="ann", id="notes")
    assert refused.value.kind == "conflict"
    assert await store.read(store.find("bob", "notes")) == b"b"


async def test_a_deleted_file_is_gone_from_disk_and_its_room_is_free(
    tmp_path: Path, store_in
) -> None:
    store = store_in(tmp_path)
    record = await put(store, b"x" * 1000, owner="ann")
    assert await store.delete("ann", record.id)
    assert store.find("ann", record.id) is None
    assert names_in(tmp_path) == []
    assert (store.quota.bytes, store.quota.files) == (0, 0)


async def test_a_file_that_is_read_survives_its_deletion_meanwhile(
    tmp_path: Path, store_in
) -> None:
    store = store_in(tmp_path)
    record = await put(store, b"hello")
    with await store.open(record) as file:
        await store.delete(None, record.id)
        assert file.read() == b"hello"


async def test_time_runs_out_for_files(tmp_path: Path, store_in) -> None:
    clock = Now()
    store = store_in(tmp_path, clock)
    record = await put(store, b"hello")
    clock.now += 2 * HOUR - 1
    assert store.find(None, record.id)
    clock.now += 1
    assert store.find(None, record.id) is None
    assert store.newest(None) == []
    await store.sweep()
    assert names_in(tmp_path) == []
    assert store.quota.bytes == 0


async def test_a_lifetime_may_be_shorter_than_the_servers_and_not_longer(
    tmp_path: Path, store_in
) -> None:
    store = store_in(tmp_path)
    short = await put(store, b"a", lifetime=HOUR)
    long = await put(store, b"a", lifetime=30 * HOUR)
    assert short.expires - short.created == HOUR * 1_000_000
    assert long.expires - long.created == 2 * HOUR * 1_000_000


async def test_an_upload_that_nobody_goes_on_with_is_swept(tmp_path: Path, store_in) -> None:
    clock = Now()
    store = store_in(tmp_path, clock)
    upload = await store.begin("ann", wanted(size=900))
    await store.receive(upload, chunks(b"x" * 100))
    clock.now += UPLOAD_LIFETIME_S
    await store.sweep()
    assert names_in(tmp_path) != []
    clock.now += 1
    await store.sweep()
    assert upload.gone
    assert names_in(tmp_path) == []
    assert (store.quota.bytes, store.quota.files) == (0, 0)


async def test_an_upload_goes_on_where_it_was_cut(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    upload = await store.begin(None, wanted(size=10))

    async def cut():
        yield b"hello"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.receive(upload, cut())
    assert upload.offset == 5
    with pytest.raises(ApiError, match="5 of the file's 10 bytes"):
        await store.finish(upload)
    await store.receive(upload, chunks(b"world"))
    record = await store.finish(upload)
    assert await store.read(record) == b"helloworld"
    assert record.sha256 == hashlib.sha256(b"helloworld").hexdigest()


async def test_a_request_that_is_cancelled_leaves_what_it_brought(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    upload = await store.begin(None, wanted())

    async def stuck():
        yield b"hello"
        await asyncio.Event().wait()

    task = asyncio.create_task(store.receive(upload, stuck()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upload.offset == 5
    assert not upload.busy


async def test_two_requests_never_write_at_once(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    upload = await store.begin(None, wanted())
    gate = asyncio.Event()

    async def slow():
        yield b"a"
        await gate.wait()

    first = asyncio.create_task(store.receive(upload, slow()))
    await asyncio.sleep(0.01)
    with pytest.raises(ApiError) as refused:
        await store.receive(upload, chunks(b"b"))
    assert refused.value.kind == "conflict"
    gate.set()
    await first
    assert await store.read(await store.finish(upload)) == b"a"


# --- bounds ------------------------------------------------------------------------------------


@pytest.mark.parametrize("announced", [None, 1001])
async def test_a_file_that_is_too_large_is_refused_and_nothing_of_it_stays(
    tmp_path: Path, announced, store_in
) -> None:
    store = store_in(tmp_path)
    with pytest.raises(ApiError) as refused:
        await put(store, b"x" * 999, b"xx", size=announced)
    assert refused.value.kind == "too_large"
    assert names_in(tmp_path) == []
    assert (store.quota.bytes, store.quota.files) == (0, 0)


async def test_more_bytes_than_announced_end_the_upload(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    with pytest.raises(ApiError, match="more bytes came than the 3"):
        await put(store, b"four", size=3)
    assert names_in(tmp_path) == []


async def test_announced_bytes_are_reserved_before_they_come(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    for _ in range(3):
        await store.begin("ann", wanted(size=1000))
    with pytest.raises(ApiError) as refused:
        await store.begin("ann", wanted(size=1))
    assert refused.value.status == 429
    assert refused.value.code == "storage_quota_exceeded"
    assert refused.value.retry_after == HOUR
    await put(store, b"x" * 1000, owner="bob")


async def test_bytes_that_nobody_announced_are_counted_as_they_come(
    tmp_path: Path, store_in
) -> None:
    store = store_in(tmp_path, bytes=1500)
    await put(store, b"x" * 1000)
    with pytest.raises(ApiError, match="this server"):
        await put(store, b"x" * 500, b"x")
    assert (store.quota.bytes, store.quota.files) == (1000, 1)


async def test_there_are_only_so_many_files(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path, files=3, key_files=2)
    for _ in range(2):
        await put(store, b"", owner="ann")
    with pytest.raises(ApiError, match="this key keeps 2"):
        await put(store, b"", owner="ann")
    await put(store, b"", owner="bob")
    with pytest.raises(ApiError, match="the server keeps 3"):
        await put(store, b"")


async def test_there_are_only_so_many_uploads_in_progress(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path, files=10_000, key_files=10_000)
    for _ in range(MAX_KEY_UPLOADS):
        await store.begin("ann", wanted())
    with pytest.raises(ApiError, match="too many uploads"):
        await store.begin("ann", wanted())
    while len(store.uploads) < MAX_UPLOADS:
        await store.begin(None, wanted())
    with pytest.raises(ApiError, match="too many uploads"):
        await store.begin("bob", wanted())


async def test_a_full_disk_is_told_and_what_was_written_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_in
) -> None:
    def full(self: Writer, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = store_in(tmp_path)
    monkeypatch.setattr(Writer, "write", full)
    with pytest.raises(ApiError) as refused:
        await put(store, b"hello")
    assert refused.value.status == 503
    assert refused.value.message == "there is no room left on the server's disk"
    assert names_in(tmp_path) == []
    assert (store.quota.bytes, store.quota.files) == (0, 0)


STEP = st.tuples(
    st.sampled_from(["put", "begin", "abandon", "delete", "wait"]),
    st.sampled_from(["ann", "bob", None]),
    st.integers(0, 1200),
)


@given(st.lists(STEP, max_size=25))
def test_the_room_taken_is_that_of_what_is_there(steps) -> None:
    async def run() -> None:
        clock = Now()
        store = open_store(None, clock)
        for kind, owner, number in steps:
            try:
                if kind == "put":
                    await put(store, b"x" * number, owner=owner)
                elif kind == "begin":
                    await store.begin(owner, wanted(size=number))
            except ApiError:
                pass
            if kind == "abandon" and store.uploads:
                await store.abandon(next(iter(store.uploads)))
            elif kind == "delete" and store.newest(owner):
                await store.delete(owner, store.newest(owner)[0].id)
            elif kind == "wait":
                clock.now += 3 * number
                await store.sweep()
            reserved = sum(upload.reserved for upload in store.uploads)
            assert store.quota.bytes == store.stored_bytes + reserved <= 5000
            assert store.quota.files == len(store) + len(store.uploads) <= 20
        await store.stop()

    asyncio.run(run())


# --- over the end of the process ---------------------------------------------------------------


async def test_files_survive_a_restart_and_uploads_do_not(tmp_path: Path, store_in) -> None:
    clock = Now()
    store = store_in(tmp_path, clock)
    record = await put(store, b"hello", owner="ann", filename="ä.txt", display_name="ü")
    upload = await store.begin("ann", wanted())
    await store.receive(upload, chunks(b"half"))
    upload.writer._file.close()  # as when the process is killed
    store.close()
    again = store_in(tmp_path, clock)
    assert again.find("ann", record.id) == record
    assert await again.read(record) == b"hello"
    assert (again.quota.bytes, again.quota.files) == (5, 1)
    assert names_in(tmp_path, ("part",)) == []
    again.close()


async def test_what_expired_while_the_server_was_down_is_removed_at_its_start(
    tmp_path: Path, store_in
) -> None:
    clock = Now()
    store = store_in(tmp_path, clock)
    await put(store, b"hello")
    store.close()
    clock.now += 3 * HOUR
    assert len(store_in(tmp_path, clock)) == 0
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder, key: (folder / f"{key}.json").write_text("{"),
        lambda folder, key: (folder / f"{key}.json").write_text("x" * 20_000),
        lambda folder, key: (folder / f"{key}.json").write_bytes(b"\xff\xfe"),
        lambda folder, key: (folder / f"{key}.json").unlink(),
        lambda folder, key: (folder / f"{key}.bin").unlink(),
        lambda folder, key: (folder / f"{key}.bin").write_bytes(b"hell"),
        lambda folder, key: replace_in(folder / f"{key}.json", b'"version":1', b'"version":2'),
        lambda folder, key: replace_in(folder / f"{key}.json", b'"id":"', b'"id":"../'),
        lambda folder, key: replace_in(folder / f"{key}.json", b'"size":5', b'"size":"5"'),
        lambda folder, key: replace_in(folder / f"{key}.json", b'"size":5', b'"size":5,"x":1'),
    ],
)
async def test_what_is_damaged_is_removed_and_harms_no_other(
    tmp_path: Path, damage, store_in
) -> None:
    store = store_in(tmp_path)
    await put(store, b"hello")
    key = names_in(tmp_path, ("bin",))[0].removesuffix(".bin")
    other = await put(store, b"other")
    store.close()
    damage(tmp_path, key)
    again = store_in(tmp_path)
    assert again.newest(None) == [other]
    assert [name for name in names_in(tmp_path) if name.startswith(key)] == []
    again.close()


def replace_in(path: Path, old: bytes, new: bytes) -> None:
    text = path.read_bytes()
    assert old in text
    path.write_bytes(text.replace(old, new))


def test_files_of_others_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.bin").write_text("mine")
    (tmp_path / "abc.part").write_text("mine")
    open_store(tmp_path).close()
    assert sorted(names_in(tmp_path)) == ["abc.part", "thesis.bin"]


def test_one_folder_serves_one_process(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    with pytest.raises(BadFilesFolder, match="used by another process"):
        Shelf(tmp_path)
    shelf.close()
    Shelf(tmp_path).close()


def test_a_folder_that_cannot_be_one_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadFilesFolder, match="file"):
        Shelf(tmp_path / "file")


async def test_without_a_folder_files_lie_in_a_private_one_that_goes_with_the_server() -> None:
    shelf = Shelf(None)
    _, writer = shelf.begin()
    folder = Path(writer._path).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    writer.abandon()
    shelf.close()
    assert not folder.exists()
