"""The official clients without asyncio: another transport, the same answers."""

import asyncio

import openai
import pytest
from google import genai
from google.genai import types

from tests.service.support import MODEL, running


def greet(group, path):
    return "hello from here"


def ask_openai(url: str) -> tuple[str, str]:
    messages = [{"role": "user", "content": "hi"}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as ai:
        whole = ai.chat.completions.create(model=MODEL, messages=messages)
        stream = ai.chat.completions.create(model=MODEL, messages=messages, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert [model.id for model in ai.models.list()] == ["tiny", "tiny:routed"]
        assert ai.models.retrieve("tiny:routed").id == "tiny:routed"
    return whole.choices[0].message.content, text


def ask_gemini(url: str) -> tuple[str, str]:
    options = types.HttpOptions(base_url=url)
    with genai.Client(api_key="none", http_options=options) as ai:
        whole = ai.models.generate_content(model=MODEL, contents="hi")
        stream = ai.models.generate_content_stream(model=MODEL, contents="hi")
        text = "".join(chunk.text for chunk in stream)
        assert [model.name for model in ai.models.list()] == ["models/tiny", "models/tiny:routed"]
    return whole.text, text


@pytest.mark.parametrize("ask", [ask_openai, ask_gemini])
async def test_whole_and_streamed_answers_agree(ask) -> None:
    async with running(greet) as server:
        answers = await asyncio.to_thread(ask, server.url)
    assert answers == ("hello from here", "hello from here")
