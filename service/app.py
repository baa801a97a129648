"""The application: every route, limit and lifetime of the gateway, put together."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from routing.calibration.artefact import load
from service.api import errors, stream
from service.api.dialect import protocol_of
from service.api.document import build as document
from service.api.document.operations import operation_id
from service.api.files.capability import upload_id_of
from service.api.files.incoming import upload_rule
from service.api.files.routes import add_files
from service.api.gemini.caches import router as caches
from service.api.gemini.endpoints import router as gemini
from service.api.gemini.live.endpoint import router as live
from service.api.models import models_router
from service.api.openai.chat import router as chat
from service.api.openai.completions import router as completions
from service.api.openai.embeddings import router as embeddings
from service.api.openai.realtime.endpoint import router as realtime
from service.api.openai.responses.endpoints import responses_router
from service.api.openai.tokenizing import router as tokenizing
from service.api.ops.endpoints import pollux_version
from service.api.ops.endpoints import router as ops
from service.api.sessions.lobby import Lobby
from service.caches.metrics import CacheMetrics
from service.calibrated import Calibration
from service.files.metrics import FileMetrics
from service.gateway import Gateway
from service.guard.body import BodyLimit
from service.guard.boundary import ErrorBoundary
from service.guard.door import Door
from service.guard.exposure import is_loopback
from service.guard.key_store import KeyMetrics, KeyStore
from service.guard.limits import Clock
from service.guard.origins import Origins
from service.guard.request_id import RequestId
from service.logs.access import AccessLog
from service.settings import Settings
from service.workers.base import Backend

GEMINI_VERSIONS = ("v1", "v1beta", "v1alpha")


def create_app(settings: Settings, backend: Backend, clock: Clock = time.monotonic) -> FastAPI:
    """The backend starts and stops with the application. No state is global: any number of
    applications live side by side. Raises BadKeys, BadArtefact; the clock is that of keys and
    their limits."""
    calibration = None if settings.calibration is None else Calibration(load(settings.calibration))
    gateway = Gateway(settings, backend, calibration)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await backend.start()
        try:
            async with gateway.files.swept(), gateway.caches.swept():
                yield
        finally:
            await gateway.stop()
            await backend.stop()

    app = FastAPI(
        title="Pollux",
        version=pollux_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=operation_id,
    )
    app.state.gateway = gateway
    metrics = gateway.metrics
    metrics.registry.register(FileMetrics(metrics.labels, gateway.files))
    metrics.registry.register(CacheMetrics(metrics.labels, gateway.caches))
    app.state.lobby = Lobby(gateway)
    errors.install(app)
    _add_routes(app)
    store = KeyStore(settings, clock)
    document.install(app, keys=store.required)

    # The last one added is the outermost.
    _add_door(app, gateway, store)
    app.add_middleware(
        BodyLimit,
        max_bytes=settings.max_body_bytes,
        seconds=settings.body_timeout,
        special=upload_rule(settings),
    )
    app.add_middleware(ErrorBoundary, render=errors.error_reply)
    if settings.origins:
        # Outside of the door: a browser asks first without its key, and shows refusals to a page
        # only with these headers. No cookies are used, so credentials are never allowed.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"),
            allow_headers=("*",),
            expose_headers=("*",),
        )
    app.add_middleware(AccessLog, protocol=protocol_of)
    app.add_middleware(RequestId)
    return app


def _add_door(app: FastAPI, gateway: Gateway, store: KeyStore) -> None:
    settings, metrics = gateway.settings, gateway.metrics
    metrics.registry.register(KeyMetrics(metrics.labels, store))
    watched = {route.path for route in ops.routes if isinstance(route, APIRoute)}
    if settings.metrics_need_key:
        watched.discard("/metrics")
    trust_names = store.required or not is_loopback(settings.host)
    app.add_middleware(
        Door,
        store=store,
        origins=Origins(settings.origins, trust_names=trust_names),
        open_paths=watched,
        render=errors.error_reply,
        refused=lambda reason: metrics.count(metrics.refused, reason=reason),
        needs_no_key=lambda scope: upload_id_of(scope) is not None,
    )


def _add_routes(app: FastAPI) -> None:
    app.include_router(ops)
    app.include_router(stream.router)
    app.include_router(tokenizing, tags=["openai"])
    hide = partial(app.include_router, include_in_schema=False)

    openai = APIRouter(prefix="/v1")
    openai.include_router(chat)
    openai.include_router(completions)
    openai.include_router(embeddings)
    openai.include_router(responses_router())
    openai.include_router(realtime)
    app.include_router(openai, tags=["openai"])
    hide(openai, prefix="/openai")
    hide(models_router("openai"), prefix="/openai/v1")
    app.include_router(live)

    # `/v1/models` serves both protocols; credentials tell them apart (service.api.dialect).
    for version in GEMINI_VERSIONS:
        shown = version == "v1beta"
        app.include_router(gemini, prefix=f"/{version}", tags=["gemini"], include_in_schema=shown)
        if version == "v1":
            app.include_router(models_router("either"), prefix="/v1", tags=["models"])
        else:
            app.include_router(
                models_router("gemini"),
                prefix=f"/{version}",
                tags=["gemini"],
                include_in_schema=shown,
            )
        app.include_router(caches, prefix=f"/{version}", tags=["gemini"], include_in_schema=shown)
        hide(gemini, prefix=f"/gemini/{version}")
        hide(caches, prefix=f"/gemini/{version}")
        hide(models_router("gemini"), prefix=f"/gemini/{version}")
    add_files(app, GEMINI_VERSIONS)
