"""Realtime and Live sessions through the unmodified Python clients."""

import ssl

import pytest
from google import genai
from google.genai import errors, types

from tests.conformance.server import MODEL

# openai opens its sockets in a way that websockets discourages.
pytestmark = pytest.mark.filterwarnings(
    r"ignore:connect\(\) must be used as a context manager:DeprecationWarning"
)


def test_a_realtime_session_answers_with_typed_events(ai) -> None:
    with ai.realtime.connect(model=MODEL) as connection:
        assert connection.recv().type == "session.created"
        session = {"type": "realtime", "output_modalities": ["text"], "max_output_tokens": 8}
        connection.session.update(session=session)
        assert connection.recv().type == "session.updated"
        content = [{"type": "input_text", "text": "Hello!"}]
        item = {"type": "message", "role": "user", "content": content}
        connection.conversation.item.create(item=item)
        connection.response.create()
        events = []
        while not events or events[-1].type != "response.done":
            events.append(connection.recv())
    kinds = [event.type for event in events]
    assert "response.output_text.delta" in kinds
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    response = events[-1].response
    assert response.output[0].content[0].text == text
    assert response.usage.total_tokens > response.usage.output_tokens > 0


def test_a_wrong_event_is_an_error_event_and_the_session_goes_on(ai) -> None:
    with ai.realtime.connect(model=MODEL) as connection:
        connection.recv()
        connection.send({"type": "session.colour"})
        told = connection.recv()
        assert (told.type, told.error.type) == ("error", "invalid_request_error")
        connection.session.update(session={"type": "realtime", "instructions": "Be kind."})
        assert connection.recv().session.instructions == "Be kind."


def test_a_realtime_session_without_a_right_key_does_not_open(openai_clients) -> None:
    stranger = openai_clients(api_key="wrong")
    with pytest.raises(Exception, match="401"), stranger.realtime.connect(model=MODEL):
        pass


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("version", [None, "v1beta", "v1alpha"])
async def test_a_live_session_answers_two_turns(secure_server, version, end) -> None:
    config = {"response_modalities": ["TEXT"], "max_output_tokens": 8, "system_instruction": "Hm."}
    async with (
        live_client(secure_server, version=version, end=end) as ai,
        ai.live.connect(model=MODEL, config=config) as session,
    ):
        for question in ("One?", "Two?"):
            await session.send_client_content(turns=types.UserContent(question))
            messages = [message async for message in session.receive()]
            contents = [message.server_content for message in messages if message.server_content]
            assert any(content.model_turn for content in contents)
            assert contents[-1].turn_complete
            usage = messages[-1].usage_metadata
            assert usage.total_token_count > usage.response_token_count > 0


async def test_a_wrong_setup_closes_the_live_session_with_its_reason(secure_server) -> None:
    with pytest.raises(errors.APIError, match="other"):
        async with (
            live_client(secure_server) as ai,
            ai.live.connect(model="other", config={"response_modalities": ["TEXT"]}),
        ):
            pass


def live_client(server, version=None, end=""):
    trusted = ssl.create_default_context(cafile=server.certificate)
    options = types.HttpOptions(
        base_url=server.url + end, api_version=version, async_client_args={"ssl": trusted}
    )
    return genai.Client(api_key=server.key, http_options=options).aio
