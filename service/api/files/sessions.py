"""Resumable uploads by the id that lets their bytes in."""

import time
from collections import OrderedDict
from collections.abc import Callable

from service.api.files.capability import new_upload_id
from service.errors import ApiError
from service.files.store import MAX_UPLOADS, UPLOAD_LIFETIME_S
from service.files.uploads import Upload

MAX_SESSIONS = 4 * MAX_UPLOADS
"""Finished ones included, which may still be asked after."""


class Sessions:
    """Not thread-safe: the event loop is its only user. clock: that of the file store."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._uploads: OrderedDict[str, Upload] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uploads)

    def add(self, upload: Upload) -> str:
        self._expire()
        upload_id = new_upload_id()
        self._uploads[upload_id] = upload
        return upload_id

    def find(self, upload_id: str) -> Upload:
        """Raises ApiError("not_found")."""
        upload = self._uploads.get(upload_id)
        if upload is None or self._is_over(upload):
            raise ApiError("not_found", "there is no such upload, or no more")
        return upload

    def _expire(self) -> None:
        for upload_id, upload in tuple(self._uploads.items()):
            if self._is_over(upload):
                del self._uploads[upload_id]
        done = [one for one, upload in self._uploads.items() if upload.file is not None]
        for upload_id in done[: max(0, len(self._uploads) + 1 - MAX_SESSIONS)]:
            del self._uploads[upload_id]

    def _is_over(self, upload: Upload) -> bool:
        return upload.gone or upload.touched < self._clock() - UPLOAD_LIFETIME_S
