"""`pollux serve`: the gateway, with the engine in it or with workers behind a broker."""

import asyncio
import logging
import os
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import uvicorn

from model.contract import WorkerStatus
from service.commands import options
from service.commands.certificate import with_certificate
from service.commands.console import FAILED, MISUSED, fail, say, settings_from
from service.files.shelf import BadFilesFolder
from service.files.store import open_store
from service.guard.exposure import is_loopback
from service.guard.key_store import KeyStore
from service.guard.keys import BadKeys
from service.guard.liveness import watch_peers
from service.logs.setup import configure
from service.settings import Settings
from service.workers.base import Backend

if TYPE_CHECKING:
    from service.gateway import Gateway

POLL_S = 0.1

log = logging.getLogger("pollux")


@options.with_engine_flags
def serve(
    *,
    engine: dict[str, Any],
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    api_keys_file: Annotated[
        Path | None, typer.Option(help="Keys that are let in; `pollux keys new` adds one.")
    ] = None,
    allow_open: Annotated[
        bool | None, typer.Option("--allow-open", help="Let everyone in, from anywhere.")
    ] = None,
    cors_origins: Annotated[
        str | None, typer.Option(help="Web origins that may use the server, by commas; or *.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain: serve HTTPS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key.")] = None,
    tls_self_signed: Annotated[
        bool | None,
        typer.Option("--tls-self-signed", help="HTTPS on localhost, with a certificate made here."),
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(help="calibration.json that `pollux calibrate` wrote.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Redis or Valkey URL; the model runs in workers elsewhere.")
    ] = None,
    log_format: options.LogFormat = None,
    log_prompts: Annotated[
        bool | None,
        typer.Option("--log-prompts", help="Log what is asked and answered, shortened."),
    ] = None,
) -> None:
    """Serve a model over HTTP and WebSockets."""
    settings = settings_from(
        **engine,
        host=host,
        port=port,
        api_keys_file=api_keys_file,
        allow_open=allow_open,
        cors_origins=cors_origins,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_self_signed=tls_self_signed,
        calibration=calibration,
        redis=redis,
        log_format=log_format,
        log_prompts=log_prompts,
    )
    configure(settings)
    if settings.log_prompts:
        log.warning("--log-prompts: what is asked and answered is written to this log")
    check_keys(settings)
    check_calibration(settings)
    check_files(settings)
    settings = with_certificate(settings)
    # Bound before a long download, listening only after it.
    with bind(settings) as listener:
        backend, name = make_backend(settings)
        raise typer.Exit(run(settings, backend, name, listener))


def bind(settings: Settings) -> socket.socket:
    """A port that is taken ends the command with one line, and so does an address that other
    machines reach when nobody would be asked for a key."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        fail(f"cannot listen on {settings.host}: {error.strerror or error}", MISUSED)
    if not (is_loopback(str(address[0])) or settings.asks_for_keys or settings.allow_open):
        fail(
            f"{settings.host} may be reached from other machines and no keys are asked for: make "
            "some with `pollux keys new` for --api-keys-file or POLLUX_API_KEYS, or say "
            "--allow-open",
            MISUSED,
        )
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        watch_peers(listener, settings.write_timeout)
        listener.bind(address)
    except OSError as error:
        listener.close()
        fail(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; "
            "choose another with --port"
        )
    return listener


def check_keys(settings: Settings) -> None:
    """Keys that cannot be used end the command with one line, before a model is fetched."""
    try:
        KeyStore(settings, time.monotonic)
    except BadKeys as error:
        fail(error, MISUSED)


def check_calibration(settings: Settings) -> None:
    """So does a file that is no calibration. Whether it fits the model shows when that is there."""
    if settings.calibration is None:
        return
    from routing.calibration.artefact import BadArtefact, load

    try:
        load(settings.calibration)
    except BadArtefact as error:
        fail(error, MISUSED)


def check_files(settings: Settings) -> None:
    """And a folder for files that cannot be one, or that another server uses."""
    try:
        open_store(settings).close()
    except BadFilesFolder as error:
        fail(error, MISUSED)


def make_backend(settings: Settings) -> tuple[Backend, str]:
    """The pool and what to call the model. Without a broker this imports jax."""
    if settings.redis is not None:
        from model.link import BadBrokerURL
        from service.workers.redis import RedisBackend

        try:
            return RedisBackend(settings.redis, settings.model), settings.model
        except BadBrokerURL as error:
            fail(error)

    from service.commands.checkpoint import engine_config, one_line_errors, open_model
    from service.workers.embedded import embedded_backend

    checkpoint, name = open_model(settings)
    with one_line_errors():
        return embedded_backend(checkpoint, name, engine_config(settings)), name


def run(settings: Settings, backend: Backend, name: str, listener: socket.socket) -> int:
    """Serves until SIGTERM or SIGINT, or until the model fails; the exit status."""
    from service.app import create_app
    from service.server import server_config

    app = create_app(settings, backend)
    server = _Server(server_config(app, settings), app.state.gateway, name)
    # uvicorn hands the signal on after its graceful end, which then is no violent one.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        return 0
    return server.status


class _Server(uvicorn.Server):
    """Says where it listens, when the model is ready, and ends when the model has failed."""

    def __init__(self, config: uvicorn.Config, gateway: "Gateway", name: str) -> None:
        super().__init__(config)
        self.status = 0
        self._gateway = gateway
        self._name = name
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit or not sockets:
            return
        host, port = sockets[0].getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if self.config.is_ssl else "http"
        say(f"Pollux serves {self._name} at {scheme}://{host}:{port}")
        self._watch = asyncio.create_task(self._watch_model())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await super().shutdown(sockets)

    async def _watch_model(self) -> None:
        began, shown = time.monotonic(), ""
        while (status := self._gateway.status()).state != "ready":
            if status.state == "failed":
                say(f"pollux: {' '.join(status.detail.split())}")
                self.status = FAILED
                self.should_exit = True
                return
            if status.detail != shown:
                shown = status.detail
                say(f"  {_line(status)}")
            await asyncio.sleep(POLL_S)
        refusals = self._gateway.calibration_refusals()
        if refusals:
            say(f"pollux: the calibration is of another setup ({'; '.join(refusals)})")
            self.status = FAILED
            self.should_exit = True
            return
        say(f"  ready after {time.monotonic() - began:.1f} s{self._calibrated()}")

    def _calibrated(self) -> str:
        calibration = self._gateway.calibration
        return "" if calibration is None else f", calibration {calibration.id}"


def _line(status: WorkerStatus) -> str:
    return status.detail or status.state
