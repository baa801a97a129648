"""What docs/clients.md tells a new user to run does run."""

import asyncio
import re
from pathlib import Path

import pytest

from tests.service.support import MODEL, running

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_both_clients_are_shown_in_both_languages() -> None:
    assert len(SNIPPETS) == 2
    assert len(re.findall(r"```js\n", PAGE)) == 3


@pytest.mark.parametrize("snippet", SNIPPETS, ids=["openai", "gemini"])
async def test_the_python_runs_as_it_is_written(snippet: str, capsys) -> None:
    async with running(lambda group, path: "red, green, blue") as server:
        code = snippet.replace("http://127.0.0.1:8000", server.url)
        code = code.replace("smollm2-135m-instruct", MODEL)
        await asyncio.to_thread(exec, code, {})
    assert "red, green, blue" in capsys.readouterr().out
