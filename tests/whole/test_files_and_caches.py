"""Files and cached contents with the default model in a real process, by the official client."""

import io
import time

import httpx
import pytest
from google import genai
from google.genai import types

from tests.whole.processes import Pollux, free_port

pytestmark = [pytest.mark.checkpoint, pytest.mark.timeout(900)]

MODEL = "smollm2-135m-instruct"
BOOK = "Ada keeps the lighthouse of Brack. Bo brings her bread on Fridays. " * 12
ROUTING = {"uncertaintyRouting": {"k": 3, "answer": "number", "maxTokens": 24}}


@pytest.fixture(scope="module")
def url(default_checkpoint, tmp_path_factory):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("serve") / "log"
    small = ("--max-rows", "8", "--context", "1024")
    with Pollux(log, "serve", "--port", str(port), *small) as server:
        server.wait_ready(address)
        yield address
        assert server.stop() == 0
        assert "Traceback" not in server.output()


@pytest.fixture
def client(url):
    with genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url)) as opened:
        yield opened


def gauge(url: str, name: str) -> float:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith(name + "{")]
    return float(line.split()[-1])


def wait_for_pages(url: str, *, used: bool) -> None:
    """Until the engine tells that pages are in use, or that none are."""
    end = time.monotonic() + 60
    while (gauge(url, "vllm:kv_cache_usage_perc") > 0) != used:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_file_reads_as_the_same_text_does(client) -> None:
    file = client.files.upload(file=io.BytesIO(BOOK.encode()), config={"mime_type": "text/plain"})
    config = {"temperature": 0, "max_output_tokens": 16}
    by_file = client.models.generate_content(
        model=MODEL, contents=[file, "Who keeps the lighthouse?"], config=config
    )
    by_text = client.models.generate_content(
        model=MODEL, contents=f"{BOOK}\nWho keeps the lighthouse?", config=config
    )
    assert by_file.text == by_text.text
    assert by_file.usage_metadata.prompt_token_count == by_text.usage_metadata.prompt_token_count
    client.files.delete(name=file.name)


def test_pages_of_cached_content_are_held_and_found_until_it_is_deleted(client, url) -> None:
    wait_for_pages(url, used=False)
    cache = client.caches.create(
        model=MODEL, config={"system_instruction": "Answer briefly.", "contents": BOOK}
    )
    wait_for_pages(url, used=True)
    tokens = cache.usage_metadata.total_token_count
    held = gauge(url, "pollux:cached_contents_held_tokens")
    assert tokens // 2 < held <= tokens
    config = types.GenerateContentConfig(
        cached_content=cache.name, temperature=0, max_output_tokens=16
    )
    question = "Who keeps the lighthouse?"
    reply = client.models.generate_content(model=MODEL, contents=question, config=config)
    assert held <= reply.usage_metadata.cached_content_token_count <= tokens
    whole = client.models.generate_content(
        model=MODEL,
        contents=f"{BOOK}\n\n{question}",
        config={
            "system_instruction": "Answer briefly.", "temperature": 0, "max_output_tokens": 16
        },
    )  # fmt: skip
    assert reply.text == whole.text
    assert reply.usage_metadata.prompt_token_count == whole.usage_metadata.prompt_token_count

    routed = client.models.generate_content(
        model=MODEL,
        contents="How many people are there?",
        config={"cached_content": cache.name, "http_options": {"extra_body": ROUTING}},
    )
    assert routed.sdk_http_response.headers["x-pollux-route"]
    assert routed.usage_metadata.cached_content_token_count >= held
    assert gauge(url, "vllm:kv_cache_usage_perc") > 0
    client.caches.delete(name=cache.name)
    wait_for_pages(url, used=False)
