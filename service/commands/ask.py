"""`pollux ask`: a question to the running server, with the vote as it comes in."""

import asyncio
import json
import sys
import time
from typing import Annotated, Any, NoReturn
from urllib.parse import urlsplit

import typer

from service.commands.client_headers import default_url, key_headers
from service.commands.console import MISUSED, fail, settings_from

TIMEOUT_S = 10.0
ROUTED_SUFFIX = ":routed"


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    k: Annotated[int | None, typer.Option(help="Paths of reasoning to poll.")] = None,
    tau: Annotated[
        str | None, typer.Option(help="An answer needs more than this share of the paths.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="What votes: auto, number, choice, ...")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Of the server.")] = None,
    model: Annotated[str | None, typer.Option(help="Model to ask, if not the first.")] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="greedy_first, throughput, latency, full or lossy."),
    ] = None,
    on_disagreement: Annotated[
        str | None, typer.Option(help="Without consensus: greedy, abstain or best_effort.")
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds, after which what is there decides.")
    ] = None,
    weighting: Annotated[
        str | None,
        typer.Option(
            help="Votes weigh by mean_logprob, self_certainty or group_confidence; all paths run."
        ),
    ] = None,
    show_paths: Annotated[
        bool, typer.Option("--show-paths", help="Print what every finished path wrote.")
    ] = False,
    routing: Annotated[
        bool, typer.Option("--routing/--no-routing", help="Poll, or just answer.")
    ] = True,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
) -> None:
    """Ask a question and watch the votes come in."""
    settings = settings_from()
    base = (url or default_url(settings)).rstrip("/")
    if urlsplit(base).scheme not in ("http", "https"):
        fail(f"{base} is no URL of a server: it starts with http:// or https://", MISUSED)
    name = model or first_model(base)
    request: dict[str, Any] = {
        "model": f"{name.removesuffix(ROUTED_SUFFIX)}{ROUTED_SUFFIX}" if routing else name,
        "messages": [{"role": "user", "content": question}],
    }
    if seed is not None:
        request["seed"] = seed
    if routing:
        policy = {
            "k": k,
            "tau": tau,
            "answer": answer,
            "plan": plan,
            "on_disagreement": on_disagreement,
            "weighting": weighting,
            "budget": None if deadline is None else {"deadline_s": deadline},
            "include_paths": show_paths or None,
        }
        # What was not given is for the server, and its calibration, to say.
        request["uncertainty_routing"] = {n: v for n, v in policy.items() if v is not None}
    try:
        asyncio.run(converse(base, request))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def first_model(base: str) -> str:
    """What the server serves. Ends the command when there is no server or no model yet."""
    import httpx

    try:
        reply = httpx.get(f"{base}/v1/models", headers=key_headers(), timeout=TIMEOUT_S)
        body = reply.json()
        if reply.status_code == 200:
            return str(body["data"][0]["id"])
        fail(f"the server at {base} says: {body['error']['message']}")
    except httpx.TransportError:
        no_server(base)
    except (ValueError, KeyError, IndexError, TypeError):
        fail(f"what answers at {base} is not Pollux")


def no_server(base: str) -> NoReturn:
    fail(f"no server answers at {base}; start one with: pollux serve")


async def converse(base: str, request: dict[str, Any]) -> None:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed, WebSocketException

    from service.commands.vote_view import view_for

    address = "ws" + base.removeprefix("http") + "/v1/stream"
    began = time.monotonic()
    try:
        async with connect(
            address, additional_headers=key_headers(), max_size=None, open_timeout=TIMEOUT_S
        ) as socket:
            await socket.send(json.dumps(request))
            with view_for(request, sys.stdout) as view:
                async for raw in socket:
                    message = json.loads(raw)
                    if message["type"] == "error":
                        fail(message["error"]["message"])
                    view.show(message)
                    if message["type"] == "done":
                        view.summary(message["response"], time.monotonic() - began)
                        return
        fail("the server ended the conversation before it had answered")
    except (OSError, TimeoutError):
        no_server(base)
    except ConnectionClosed as closed:
        fail(f"the server closed the conversation: {closed.reason or closed.code}")
    except WebSocketException as error:
        fail(f"what answers at {base} is not Pollux: {error}")
