"""Files with their owners, bounds and lifetimes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from service.errors import ApiError
from service.files.quota import Bounds, Quota, full
from service.files.records import FileRecord, new_id
from service.files.shelf import BadFilesFolder, Shelf, Writer
from service.files.uploads import WRITE_BYTES, Upload, Wanted, on_disk, settled
from service.settings import Settings

UPLOAD_LIFETIME_S = 3600.0
"""How long an upload waits for its next bytes."""
MAX_UPLOADS = 256
MAX_KEY_UPLOADS = 32
"""In progress at once; each has an open file."""
SWEEP_S = 60.0


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    record: FileRecord


def bounds_of(settings: Settings) -> Bounds:
    return Bounds(
        file_bytes=settings.max_file_bytes,
        bytes=settings.max_files_bytes,
        files=settings.max_files,
        key_bytes=settings.max_key_files_bytes,
        key_files=settings.max_key_files,
    )


def open_store(settings: Settings) -> "FileStore":
    """Raises BadFilesFolder."""
    shelf = Shelf(settings.files_dir)
    try:
        return FileStore(shelf, bounds_of(settings), settings.file_lifetime)
    except BadFilesFolder:
        shelf.close()
        raise


class FileStore:
    """On the event loop's thread; the disk is used on others.

    uploads: those in progress. clock: seconds since 1970. Raises BadFilesFolder.
    """

    def __init__(
        self,
        shelf: Shelf,
        bounds: Bounds,
        lifetime: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.bounds = bounds
        self._shelf = shelf
        self._lifetime = lifetime
        self._clock = clock
        self.quota = Quota(bounds)
        self._entries: dict[tuple[str | None, str], _Entry] = {}
        self.uploads: set[Upload] = set()
        self._opening: list[tuple[str | None, str]] = []
        """Owners and ids of uploads whose files are being made."""
        now = self._micros()
        for key, record in shelf.load().items():
            if record.expires <= now or (record.owner, record.id) in self._entries:
                shelf.remove(key)
            else:
                self._entries[record.owner, record.id] = _Entry(key, record)
                self.quota.take(record.owner, record.size, files=1)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def stored_bytes(self) -> int:
        return sum(entry.record.size for entry in self._entries.values())

    # --- files that are there ---

    def find(self, owner: str | None, file_id: str) -> FileRecord | None:
        """None for one that is unknown, expired or another owner's."""
        entry = self._entry(owner, file_id)
        return None if entry is None else entry.record

    def newest(self, owner: str | None) -> list[FileRecord]:
        now = self._micros()
        records = [entry.record for entry in self._entries.values()]
        mine = [one for one in records if one.owner == owner and one.expires > now]
        return sorted(mine, key=lambda one: (one.created, one.id), reverse=True)

    async def delete(self, owner: str | None, file_id: str) -> bool:
        entry = self._entry(owner, file_id)
        if entry is None:
            return False
        self._forget(entry)
        await on_disk(lambda: self._shelf.remove(entry.key))
        return True

    async def open(self, record: FileRecord) -> BinaryIO:
        """Its content. Raises ApiError("not_found") when it is gone by now."""
        entry = self._entry(record.owner, record.id)
        if entry is None:
            raise ApiError("not_found", "the file is gone")
        return await on_disk(lambda: self._shelf.open(entry.key))

    async def read(self, record: FileRecord) -> bytes:
        """The whole content; callers bound `record.size` first."""
        file = await self.open(record)
        with file:
            return await on_disk(file.read)

    # --- files that come in ---

    async def begin(self, owner: str | None, wanted: Wanted) -> Upload:
        """Reserves what it needs. Raises ApiError."""
        if wanted.size is not None and wanted.size > self.bounds.file_bytes:
            raise self._too_large()
        if wanted.id is not None and self._is_taken(owner, wanted.id):
            raise ApiError("conflict", f"there is a file {wanted.id!r} already")
        owners = [upload.owner for upload in self.uploads] + [one for one, _ in self._opening]
        mine = owners.count(owner)
        if len(owners) >= MAX_UPLOADS or (owner is not None and mine >= MAX_KEY_UPLOADS):
            raise full("too many uploads are in progress")
        reserved = wanted.size or 0
        self.quota.add_file(owner)
        try:
            self.quota.add_bytes(owner, reserved)
        except ApiError:
            self.quota.give_back(owner, 0, files=1)
            raise
        name = wanted.id or new_id()
        self._opening.append((owner, name))
        try:
            key, writer = await self._part()
        except BaseException:
            self.quota.give_back(owner, reserved, files=1)
            raise
        finally:
            self._opening.remove((owner, name))
        upload = Upload(owner, wanted, key, writer, self._clock(), name, reserved=reserved)
        self.uploads.add(upload)
        return upload

    async def _part(self) -> tuple[str, Writer]:
        """A file to write to. Nobody who is cancelled meanwhile leaves one."""
        made: list[tuple[str, Writer]] = []
        try:
            await on_disk(lambda: made.append(self._shelf.begin()))
        except BaseException:
            for _, writer in made:
                await on_disk(writer.abandon)
            raise
        return made[0]

    async def receive(self, upload: Upload, chunks: AsyncIterable[bytes]) -> None:
        """Writes bytes as they come; what came before a failure stays, for the upload to go on.
        One that grows too large, or that the disk has no room for, is abandoned. Raises ApiError
        and whatever `chunks` raises."""
        async with upload.use():
            gathered = bytearray()
            try:
                async for chunk in chunks:
                    await self._make_room(upload, len(gathered) + len(chunk))
                    gathered += chunk
                    if len(gathered) >= WRITE_BYTES:
                        data, gathered = bytes(gathered), bytearray()
                        await self._write(upload, data)
            finally:
                if gathered and not upload.gone:
                    await self._write(upload, bytes(gathered))

    async def finish(self, upload: Upload) -> FileRecord:
        """Raises ApiError: "invalid" while bytes are missing."""
        wanted = upload.wanted
        if wanted.size is not None and upload.offset != wanted.size:
            raise ApiError(
                "invalid", f"{upload.offset} of the file's {wanted.size} bytes are there"
            )
        async with upload.use():
            return await settled(self._finish(upload))

    async def abandon(self, upload: Upload) -> None:
        """What came so far is removed. Any number of times."""
        if upload not in self.uploads:
            return
        upload.gone = True
        self.uploads.discard(upload)
        self.quota.give_back(upload.owner, upload.reserved, files=1)
        await on_disk(upload.writer.abandon)

    async def sweep(self) -> None:
        """Removes what has expired."""
        now = self._micros()
        for entry in [one for one in self._entries.values() if one.record.expires <= now]:
            self._forget(entry)
            await on_disk(partial(self._shelf.remove, entry.key))
        oldest = self._clock() - UPLOAD_LIFETIME_S
        for upload in [one for one in self.uploads if one.touched < oldest and not one.busy]:
            await self.abandon(upload)

    @asynccontextmanager
    async def swept(self) -> AsyncIterator[None]:
        """While the server runs; at the end unfinished uploads are removed and the folder is
        given up."""
        task = asyncio.create_task(self._keep_sweeping())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.stop()

    async def stop(self) -> None:
        for upload in tuple(self.uploads):
            with contextlib.suppress(ApiError):  # the log has it
                await self.abandon(upload)
        self.close()

    def close(self) -> None:
        """Where nothing is in progress."""
        self._shelf.close()

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            with contextlib.suppress(ApiError):  # the log has it
                await self.sweep()

    async def _make_room(self, upload: Upload, coming: int) -> None:
        """For bytes beyond those on disk."""
        size = upload.offset + coming
        declared = upload.wanted.size
        if declared is not None and size > declared:
            await self.abandon(upload)
            raise ApiError("invalid", f"more bytes came than the {declared} that were announced")
        if size > self.bounds.file_bytes:
            await self.abandon(upload)
            raise self._too_large()
        if size > upload.reserved:
            try:
                self.quota.add_bytes(upload.owner, size - upload.reserved)
            except ApiError:
                await self.abandon(upload)
                raise
            upload.reserved = size

    async def _write(self, upload: Upload, data: bytes) -> None:
        try:
            await on_disk(lambda: upload.writer.write(data))
        except ApiError:
            await self.abandon(upload)
            raise
        upload.touched = self._clock()

    async def _finish(self, upload: Upload) -> FileRecord:
        try:
            digest = await on_disk(upload.writer.finish)
            record = self._record(upload, digest)
            await on_disk(lambda: self._shelf.commit(upload.key, record))
        except ApiError:
            await self.abandon(upload)
            raise
        upload.file = record
        upload.touched = self._clock()
        self.uploads.discard(upload)
        self._entries[record.owner, record.id] = _Entry(upload.key, record)
        # A size that was not announced was reserved as it came.
        self.quota.give_back(upload.owner, upload.reserved - record.size)
        return record

    def _record(self, upload: Upload, digest: str) -> FileRecord:
        wanted, now = upload.wanted, self._micros()
        lifetime = self._lifetime if wanted.lifetime is None else wanted.lifetime
        return FileRecord(
            id=upload.id,
            owner=upload.owner,
            filename=wanted.filename or wanted.display_name or upload.id,
            display_name=wanted.display_name,
            mime=wanted.mime,
            purpose=wanted.purpose,
            uri=f"{wanted.base}/v1beta/files/{upload.id}",
            size=upload.offset,
            sha256=digest,
            created=now,
            expires=now + round(min(lifetime, self._lifetime) * 1_000_000),
        )

    def _is_taken(self, owner: str | None, file_id: str) -> bool:
        coming = any(one.owner == owner and one.id == file_id for one in self.uploads)
        name = (owner, file_id)
        return coming or name in self._opening or name in self._entries

    def _entry(self, owner: str | None, file_id: str) -> _Entry | None:
        entry = self._entries.get((owner, file_id))
        return None if entry is None or entry.record.expires <= self._micros() else entry

    def _forget(self, entry: _Entry) -> None:
        record = entry.record
        del self._entries[record.owner, record.id]
        self.quota.give_back(record.owner, record.size, files=1)

    def _too_large(self) -> ApiError:
        return ApiError(
            "too_large",
            f"the file is larger than the {self.bounds.file_bytes} bytes that are allowed",
            code="file_too_large",
        )

    def _micros(self) -> int:
        return round(self._clock() * 1_000_000)
