"""uvicorn, as the gateway needs it."""

import uvicorn
from fastapi import FastAPI

from service.settings import Settings

MAX_HEADER_BYTES = 64 * 1024


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Bounded in what a client may send before the application sees it."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        access_log=settings.log_level in ("debug", "info"),
        ws_max_size=settings.max_body_bytes,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        server_header=False,
    )
