"""uvicorn, as the gateway needs it."""

import uvicorn
from fastapi import FastAPI

from service.logs import uvicorn_lines
from service.logs.cuts import Cuts
from service.protocols import protocols
from service.settings import Settings


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Bounded in what a client may send before the application sees it."""
    http, websockets = protocols(
        write_timeout=settings.write_timeout,
        max_connections=settings.max_connections,
        cut=Cuts(app.state.gateway.metrics),
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=http,
        ws=websockets,
        # Its lines go where all others go; requests are logged by service.logs.access.
        log_config=None,
        log_level=settings.log_level,
        access_log=False,
        ws_max_size=settings.max_body_bytes,
        # Frames are small and many sockets are idle: compression would cost each of them more
        # memory than all the rest of it.
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace)),
        timeout_keep_alive=settings.keep_alive_timeout,
        server_header=False,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    uvicorn_lines.install()
    return config
