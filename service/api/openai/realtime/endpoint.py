"""WS /v1/realtime?model=..., for text."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from service.api.errors import error_reply
from service.api.openai.realtime.talk import RealtimeTalk
from service.api.sessions.line import POLICY
from service.api.sessions.lobby import Lobby
from service.api.sessions.session import Session
from service.errors import ApiError

router = APIRouter()

SUBPROTOCOL = "realtime"


@router.websocket("/realtime")
async def realtime(socket: WebSocket) -> None:
    lobby: Lobby = socket.app.state.lobby
    try:
        model = _model(socket, lobby)
        with lobby.admit("openai_realtime"):
            offered = SUBPROTOCOL in socket.scope["subprotocols"]
            await socket.accept(subprotocol=SUBPROTOCOL if offered else None)

            async def talk(session: Session) -> None:
                await RealtimeTalk(session, model, socket.headers).run()

            await lobby.run(socket, talk)
    except ApiError as error:
        await _turn_away(socket, error)


def _model(socket: WebSocket, lobby: Lobby) -> str:
    """Raises ApiError for what no session can be about."""
    query = socket.query_params
    for name in ("intent", "call_id"):
        if query.get(name) not in (None, "", "realtime", "conversation"):
            raise ApiError("invalid", f"{name} is not supported here; leave it out", param=name)
    model = query.get("model")
    if not model:
        raise ApiError(
            "invalid",
            "missing required parameter: 'model'",
            param="model",
            code="missing_required_parameter",
        )
    lobby.gateway.served(model)
    return model


async def _turn_away(socket: WebSocket, error: ApiError) -> None:
    """In place of the handshake, in plain HTTP."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(error_reply(socket, error))
    else:
        await socket.close(POLICY, error.message[:100])
