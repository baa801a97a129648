"""The content of a file, piece by piece."""

import asyncio
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.files.records import FileRecord
from service.files.uploads import on_disk

READ_BYTES = 256 * 1024


class Download(Response):
    """file: open, closed at the end. seconds: a reader that needs longer is cut off."""

    def __init__(self, file: BinaryIO, record: FileRecord, seconds: float) -> None:
        self._file = file
        self._seconds = seconds
        self.status_code = 200
        self.background = None
        name = quote(record.filename, safe="")
        self.init_headers(
            {
                "content-type": record.mime,
                "content-length": str(record.size),
                # A browser saves what a client once sent: it never runs as a page of this server.
                "content-disposition": f"attachment; filename*=UTF-8''{name}",
                "content-security-policy": "sandbox; default-src 'none'",
                "x-content-type-options": "nosniff",
            }
        )

    def render(self, content: object) -> bytes:
        return b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file as file:
            async with asyncio.timeout(self._seconds):
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
                while chunk := await on_disk(lambda: file.read(READ_BYTES)):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
