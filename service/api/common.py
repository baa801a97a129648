"""What the endpoints of all protocols share."""

from collections.abc import Mapping

from starlette.requests import Request

from routing.policy import RoutingPolicy
from service.api.parsing import parse_json
from service.gateway import Gateway

ROUTING_HEADER = "x-pollux-routing"


def gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


def header_policy(headers: Mapping[str, str]) -> RoutingPolicy | None:
    """Raises ApiError when the header is no policy."""
    given = headers.get(ROUTING_HEADER)
    if given is None:
        return None
    return parse_json(given, RoutingPolicy, param=ROUTING_HEADER)
