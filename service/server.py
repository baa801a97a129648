"""uvicorn, as the gateway needs it."""

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.settings import Settings

MAX_HEADER_BYTES = 64 * 1024


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Bounded in what a client may send before the application sees it."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHeaders,
        log_level=settings.log_level,
        access_log=settings.log_level in ("debug", "info"),
        ws_max_size=settings.max_body_bytes,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        server_header=False,
    )


class BoundedHeaders(HttpToolsProtocol):
    """The parser keeps a header until it is whole, however long; here it is cut."""

    _in_head = True
    _head_bytes = 0

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()


_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)
