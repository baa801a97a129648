"""A form that the default model has to keep to, asked for with the official clients."""

import json
import re
from pathlib import Path

import openai
import pytest
from pydantic import BaseModel

from tests.whole.processes import Pollux, free_port

pytestmark = pytest.mark.checkpoint

MODEL = "smollm2-135m-instruct"


class Person(BaseModel):
    name: str
    age: int


def test_answers_keep_to_their_form_and_free_ones_run_beside_them(tmp_path: Path) -> None:
    port = free_port()
    flags = ("--port", str(port), "--max-rows", "16", "--context", "1024")
    with Pollux(tmp_path / "serve.log", "serve", *flags) as server:
        server.wait_ready(f"http://127.0.0.1:{port}")
        ai = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        asked = {"model": MODEL, "messages": [{"role": "user", "content": "Who is Ada?"}]}
        parsed = ai.chat.completions.parse(
            **asked, response_format=Person, n=4, seed=1, max_completion_tokens=200,
            # Strings and numbers may be long; the greedy ones of this model end.
            temperature=0,
        )  # fmt: skip
        whole = [c for c in parsed.choices if c.finish_reason == "stop"]
        assert whole
        assert all(isinstance(choice.message.parsed, Person) for choice in whole)

        chosen = ai.chat.completions.create(
            **asked, n=8, seed=1, extra_body={"guided_choice": ["red", "green"]}
        )
        assert {choice.message.content for choice in chosen.choices} <= {"red", "green"}
        matched = ai.completions.create(
            model=MODEL, prompt="Call ", seed=1, extra_body={"guided_regex": "[0-9]{3}-[0-9]{4}"}
        )
        assert re.fullmatch("[0-9]{3}-[0-9]{4}", matched.choices[0].text)
        routed = ai.chat.completions.create(
            **asked,
            extra_body={
                "uncertainty_routing": {
                    "k": 4, "seed": 1, "max_tokens": 64, "constrain": True, "plan": "full",
                    "answer": {"type": "json", "schema": Person.model_json_schema(),
                               "pointer": "/age"},
                }
            },
        )  # fmt: skip
        decision = routed.uncertainty_routing
        assert all(isinstance(json.loads(vote), int) for vote in decision["votes"])
        with pytest.raises(openai.BadRequestError, match="grammar"):
            ai.chat.completions.create(**asked, extra_body={"guided_grammar": "start: ("})
