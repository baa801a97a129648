"""uvicorn, as the gateway needs it."""

import uvicorn
from fastapi import FastAPI

from service import access_log
from service.protocols import BoundedHeaders, PatientSockets
from service.settings import Settings


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Bounded in what a client may send before the application sees it."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=BoundedHeaders,
        ws=PatientSockets,
        log_level=settings.log_level,
        access_log=settings.log_level in ("debug", "info"),
        ws_max_size=settings.max_body_bytes,
        # Frames are small and many sockets are idle: compression would cost each of them more
        # memory than all the rest of it.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    access_log.install()
    return config
