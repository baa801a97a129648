"""Reasoning over sessions: told as thought parts where it is asked for, and counted in both."""

from tests.service.sessions.support import live, prompt_of, realtime, running, text_of
from tests.service.support import THINK_CONTROL, THINK_TEMPLATE, spoken, tiny_text

TEXT = tiny_text(THINK_TEMPLATE, THINK_CONTROL)


def reasons(group, path):
    return spoken(TEXT, "<think>\nhm\n</think>\n\nYes.")


async def test_thoughts_are_told_if_asked_for_and_read_again_by_the_template() -> None:
    async with running(reasons, text=TEXT) as server, live(server) as client:
        await client.set_up(generationConfig={"thinkingConfig": {"includeThoughts": True}})
        heard = await client.ask("one")
        turns = [m["serverContent"].get("modelTurn", {}).get("parts", []) for m in heard]
        parts = [part for turn in turns for part in turn]
        assert "".join(part["text"] for part in parts if part.get("thought")) == "hm"
        assert "".join(part["text"] for part in parts if not part.get("thought")) == "Yes."
        usage = heard[-1]["usageMetadata"]
        assert usage["thoughtsTokenCount"] > 0
        await client.ask("two")
        assert "<think>\nhm\n</think>" in prompt_of(server)


async def test_thoughts_are_counted_where_they_are_not_told() -> None:
    async with running(reasons, text=TEXT) as server:
        async with live(server) as client:
            await client.set_up()
            heard = await client.ask("one")
            assert text_of(heard) == "Yes."
            assert heard[-1]["usageMetadata"]["thoughtsTokenCount"] > 0
        async with realtime(server) as client:
            response = (await client.ask("one", reasoning={"effort": "low"}))[-1]["response"]
            assert response["output"][0]["content"][0]["text"] == "Yes."
            assert response["usage"]["output_token_details"]["reasoning_tokens"] > 0
