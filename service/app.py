"""The application: every route, limit and lifetime of the gateway, put together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter, FastAPI

from service.api import errors, stream
from service.api.gemini.endpoints import router as gemini
from service.api.models import models_router
from service.api.openai.chat import router as chat
from service.api.openai.completions import router as completions
from service.api.openai.responses.endpoints import responses_router
from service.api.openai.tokenizing import router as tokenizing
from service.api.ops.endpoints import pollux_version
from service.api.ops.endpoints import router as ops
from service.gateway import Gateway
from service.guard.body import BodyLimit
from service.guard.boundary import ErrorBoundary
from service.guard.request_id import RequestId
from service.settings import Settings
from service.workers.base import Backend

GEMINI_VERSIONS = ("v1", "v1beta", "v1alpha")


def create_app(settings: Settings, backend: Backend) -> FastAPI:
    """The backend starts and stops with the application. No state is global: any number of
    applications live side by side."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await backend.start()
        try:
            yield
        finally:
            await backend.stop()

    app = FastAPI(
        title="Pollux",
        version=pollux_version(),
        lifespan=lifespan,
        redirect_slashes=False,
        # Their pages load scripts from elsewhere; the document itself is at /openapi.json.
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = Gateway(settings, backend)
    errors.install(app)
    _add_routes(app)

    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, seconds=settings.body_timeout)
    app.add_middleware(ErrorBoundary, render=errors.error_reply)
    app.add_middleware(RequestId)
    return app


def _add_routes(app: FastAPI) -> None:
    app.include_router(ops)
    app.include_router(stream.router)
    app.include_router(tokenizing, tags=["openai"])
    hide = partial(app.include_router, include_in_schema=False)

    openai = APIRouter(prefix="/v1")
    openai.include_router(chat)
    openai.include_router(completions)
    openai.include_router(responses_router())
    app.include_router(openai, tags=["openai"])
    hide(openai, prefix="/openai")
    hide(models_router(), prefix="/openai/v1")

    # `/v1/models` serves both protocols; credentials tell them apart (service.api.dialect).
    for version in GEMINI_VERSIONS:
        shown = version == "v1beta"
        app.include_router(gemini, prefix=f"/{version}", tags=["gemini"], include_in_schema=shown)
        app.include_router(
            models_router(), prefix=f"/{version}", tags=["models"], include_in_schema=shown
        )
        hide(gemini, prefix=f"/gemini/{version}")
        hide(models_router(), prefix=f"/gemini/{version}")
