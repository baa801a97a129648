"""What a prompt refers to, as bytes with their kind: the one place where that is decided.

Whoever reads more kinds of content than text (images, sound) begins here as well.
"""

import hashlib
from dataclasses import dataclass, field

from service.errors import ApiError
from service.files.mime import UNKNOWN, Mime, parse_mime
from service.files.records import FileRecord
from service.files.store import FileStore
from service.media.fetch import Fetcher


@dataclass(frozen=True, slots=True)
class Inline:
    """Content that came with the request. mime: as it was written."""

    mime: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file that was uploaded. uri: where the caller named it by an address, which must be the
    file's own. mime: None for what was said when it was uploaded."""

    file_id: str
    uri: str | None = None
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """An address elsewhere, which only a resolver that was given a fetcher reads. mime: None for
    what its server says."""

    url: str
    mime: str | None = None


Reference = Inline | Stored | Remote


@dataclass(frozen=True, slots=True)
class Content:
    """sha256: of the bytes alone, in hexadecimal; caches add how they were read."""

    data: bytes = field(repr=False)
    mime: Mime
    sha256: str


class FileMissing(Exception):
    """There is no such file for this owner: it never was, has expired, or is another's."""


class Resolver:
    """For one request. owner: whose files it may read. fetcher: for addresses elsewhere, of which
    at most `remote_bytes` are read each."""

    def __init__(
        self,
        store: FileStore,
        owner: str | None,
        fetcher: Fetcher | None = None,
        remote_bytes: int = 0,
    ) -> None:
        self._store = store
        self._owner = owner
        self._fetcher = fetcher
        self._remote_bytes = remote_bytes

    def size(self, reference: Reference) -> int:
        """Bytes, before any is read; of an address elsewhere the most that will be. Raises
        FileMissing."""
        if isinstance(reference, Inline):
            return len(reference.data)
        if isinstance(reference, Remote):
            return self._remote_bytes
        return self._record(reference).size

    def mime(self, reference: Reference) -> Mime:
        """Raises FileMissing; ValueError for what is no media type."""
        if isinstance(reference, Inline):
            return parse_mime(reference.mime)
        if isinstance(reference, Remote):
            return parse_mime(reference.mime or UNKNOWN)
        return parse_mime(reference.mime or self._record(reference).mime)

    async def load(self, reference: Reference) -> Content:
        """Callers bound the size first. Raises FileMissing, ValueError, ApiError."""
        mime = self.mime(reference)
        if isinstance(reference, Remote):
            return await self._fetched(reference)
        if isinstance(reference, Inline):
            return Content(reference.data, mime, hashlib.sha256(reference.data).hexdigest())
        record = self._record(reference)
        return Content(await self._store.read(record), mime, record.sha256)

    async def _fetched(self, remote: Remote) -> Content:
        if self._fetcher is None:
            raise ApiError("invalid", "nothing is fetched from elsewhere", code="media_url")
        found = await self._fetcher.fetch(remote.url, self._remote_bytes)
        mime = parse_mime(remote.mime or found.mime or UNKNOWN)
        return Content(found.data, mime, hashlib.sha256(found.data).hexdigest())

    def _record(self, stored: Stored) -> FileRecord:
        record = self._store.find(self._owner, stored.file_id)
        if record is None or stored.uri not in (None, record.uri):
            raise FileMissing
        return record
