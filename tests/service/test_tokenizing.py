"""/tokenize and /detokenize, as clients of vLLM use them."""

import httpx
import pytest

from tests.service.support import MODEL, TEMPLATE, running

CHAT = [{"role": "user", "content": "hi"}]


def unused(group, path):
    raise AssertionError("nothing is generated")


async def post(path: str, body: object) -> httpx.Response:
    async with running(unused) as server, httpx.AsyncClient(base_url=server.url) as client:
        return await client.post(path, json=body)


async def test_text_there_and_back() -> None:
    reply = (await post("/tokenize", {"model": MODEL, "prompt": "Grüße <|end|>"})).json()
    assert reply["count"] == len(reply["tokens"]) == len("Grüße <|end|>".encode())
    assert reply["max_model_len"] == 2048
    assert "token_strs" not in reply
    back = await post("/detokenize", {"model": MODEL, "tokens": reply["tokens"]})
    assert back.json() == {"prompt": "Grüße <|end|>"}


async def test_a_conversation_is_counted_as_chat_would_send_it() -> None:
    whole = (await post("/tokenize", {"messages": CHAT})).json()["tokens"]
    assert (whole[0], whole[-2:]) == (301, [303, 302])
    closed = {"messages": CHAT, "add_generation_prompt": False}
    assert (await post("/tokenize", closed)).json()["tokens"] == whole[:-1]
    open_ended = {**closed, "continue_final_message": True}
    assert (await post("/tokenize", open_ended)).json()["tokens"] == whole[:-2]


async def test_special_tokens_and_the_template_are_told() -> None:
    async with running(unused) as server, httpx.AsyncClient(base_url=server.url) as client:
        info = (await client.get("/tokenizer_info")).json()
    assert (info["eos_token"], info["bos_token"], info["pad_token"]) == ("<|end|>", None, None)
    assert info["chat_template"] == TEMPLATE
    assert info["model_max_length"] == 2048


async def test_only_a_prompt_that_is_a_control_token_alone_is_one() -> None:
    alone = {"prompt": "<|end|>", "add_special_tokens": False}
    assert (await post("/tokenize", alone)).json()["tokens"] == [303]
    assert (await post("/tokenize", {"prompt": " <|end|>"})).json()["count"] == 8


async def test_tokens_come_as_text_when_asked() -> None:
    body = {"prompt": "ab", "return_token_strs": True}
    assert (await post("/tokenize", body)).json()["token_strs"] == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": CHAT}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"prompt": "a", "model": "nobody"}, "model"),
        ("/tokenize", {"prompt": "a" * 100_000}, "prompt"),
        ("/detokenize", {"tokens": [1, 5000]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens[0]"),
        ("/detokenize", {"tokens": [1], "model": "nobody"}, "model"),
    ],
)
async def test_what_is_refused_is_named(path: str, body: object, param: str) -> None:
    reply = await post(path, body)
    assert reply.status_code in (400, 404)
    assert reply.json()["error"]["param"] == param
