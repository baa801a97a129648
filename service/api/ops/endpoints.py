"""Health, version and metrics: for machines that watch this one. Outside of all limits."""

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from service.api.common import gateway_of
from service.api.document.operations import watch
from service.api.document.ops_replies import AliveReply, ReadyReply, VersionReply
from service.api.replies import JSONReply

router = APIRouter()


def pollux_version() -> str:
    try:
        return version("pollux")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"


@router.get("/healthz", summary="The process lives", **watch(AliveReply))
async def healthz() -> Response:
    return JSONReply({"status": "ok"})


@router.get(
    "/readyz",
    summary="Requests are served; 503 with what it is doing until then",
    **watch(ReadyReply, may_wait=True),
)
async def readyz(request: Request) -> Response:
    status = gateway_of(request).status()
    ready = status.state == "ready"
    body = {"state": status.state, "detail": status.detail, "progress": status.progress}
    return JSONReply(body, status_code=200 if ready else 503)


@router.get("/health", summary="As readyz, with an empty body", **watch(may_wait=True))
async def health(request: Request) -> Response:
    ready = gateway_of(request).status().state == "ready"
    return Response(status_code=200 if ready else 503)


@router.get("/ping", summary="As health", **watch(may_wait=True))
async def ping(request: Request) -> Response:
    return await health(request)


@router.get("/version", summary="Pollux's version", **watch(VersionReply))
async def get_version() -> Response:
    return JSONReply({"version": pollux_version()})


@router.get("/metrics", summary="Prometheus metrics", **watch(text="text/plain"))
async def metrics(request: Request) -> Response:
    return Response(
        gateway_of(request).metrics.exposition(), headers={"content-type": CONTENT_TYPE_LATEST}
    )


# Load balancers probe with HEAD as well.
for _path, _probe in (
    ("/healthz", healthz),
    ("/readyz", readyz),
    ("/health", health),
    ("/ping", ping),
):
    router.add_api_route(_path, _probe, methods=["HEAD"], include_in_schema=False)
