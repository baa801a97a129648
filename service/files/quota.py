"""How much may be kept: by all together and by each key. Counted before it is written."""

from collections import Counter
from dataclasses import dataclass

from service.errors import ApiError

TRY_AGAIN_S = 3600.0
"""Room comes back when files are deleted or expire: nothing to wait for at the door."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """file_bytes: of one. bytes, files: of all, uploads in progress included. key_bytes,
    key_files: the same of one key."""

    file_bytes: int
    bytes: int
    files: int
    key_bytes: int
    key_files: int


class Quota:
    """Owners are names of keys. Those of nobody (no keys are asked for) have only the bounds of
    all."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.bytes = 0
        self.files = 0
        self._key_bytes: Counter[str] = Counter()
        self._key_files: Counter[str] = Counter()

    def add_file(self, owner: str | None) -> None:
        """Raises ApiError("overloaded")."""
        bounds = self._bounds
        if self.files + 1 > bounds.files:
            raise full(f"the server keeps {bounds.files} files, as many as it may")
        if owner is not None and self._key_files[owner] + 1 > bounds.key_files:
            raise full(f"this key keeps {bounds.key_files} files, as many as it may")
        self.take(owner, files=1)

    def add_bytes(self, owner: str | None, count: int) -> None:
        """Raises ApiError("overloaded")."""
        bounds = self._bounds
        if self.bytes + count > bounds.bytes:
            raise full(f"the files of this server would be larger than {bounds.bytes} bytes")
        if owner is not None and self._key_bytes[owner] + count > bounds.key_bytes:
            raise full(f"the files of this key would be larger than {bounds.key_bytes} bytes")
        self.take(owner, count)

    def take(self, owner: str | None, count: int = 0, files: int = 0) -> None:
        """Whether it fits or not: files that were there before."""
        self.bytes += count
        self.files += files
        if owner is not None:
            self._key_bytes[owner] += count
            self._key_files[owner] += files

    def give_back(self, owner: str | None, count: int, files: int = 0) -> None:
        self.take(owner, -count, -files)
        if owner is not None and not (self._key_bytes[owner] or self._key_files[owner]):
            del self._key_bytes[owner], self._key_files[owner]


def full(message: str) -> ApiError:
    return ApiError(
        "overloaded",
        f"{message}; delete some or wait until some expire",
        code="storage_quota_exceeded",
        retry_after=TRY_AGAIN_S,
    )
