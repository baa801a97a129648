"""WS /ws/google.ai.generativelanguage.<version>.GenerativeService.BidiGenerateContent."""

from fastapi import APIRouter
from starlette.websockets import WebSocket

from service.api.gemini.live.rendering import over
from service.api.gemini.live.talk import LiveTalk
from service.api.sessions.lobby import Lobby
from service.api.sessions.session import Session
from service.errors import ApiError

router = APIRouter()

METHOD = "ws/google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"


# Clients put the method behind their base URL, which may end with a slash.
@router.websocket(f"/{METHOD}")
@router.websocket(f"//{METHOD}")
@router.websocket(f"/gemini/{METHOD}")
@router.websocket(f"/gemini//{METHOD}")
async def live(socket: WebSocket) -> None:
    lobby: Lobby = socket.app.state.lobby
    await socket.accept()

    async def talk(session: Session) -> None:
        try:
            with lobby.admit("gemini_live"):
                await LiveTalk(session, lobby.shelf, socket.headers).run()
        except ApiError as error:
            raise over(error) from error

    await lobby.run(socket, talk)
