"""Control tokens come from templates, whatever callers write and whatever templates do with it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.chat import chat_parts
from model.text.control import ControlPieces
from model.text.language import ChatMessage, TemplateError, TextModel
from model.text.templates import ChatTemplate
from tests.model.text.conftest import SOURCES, expected

CONTROL = ControlPieces({"<|go|>": 1, "<|end|>": 2, "[X]": 3})
# A SentencePiece model with a space before the first word has one after each control token, as
# its own code encodes turns. transformers 5 converts it to a tokenizer that has not.
PREFIXING = ("llama2-gguf", "llama2-model")
FORMS = [("messages", "ids"), ("messages", "prompt"), ("opened", "continued")]


def parts(source: str, *contents: str, continue_final: bool = False) -> list[str | int]:
    return chat_parts(
        ChatTemplate(source),
        CONTROL,
        [{"role": "user", "content": content} for content in contents],
        add_generation_prompt=not continue_final,
        continue_final=continue_final,
        variables={},
    )


def ids(found: list[str | int]) -> list[int]:
    return [part for part in found if isinstance(part, int)]


PLAIN = "{% for m in messages %}<|go|>{{ m.content }}<|end|>{% endfor %}"


@pytest.mark.parametrize("form", FORMS, ids=[name for _, name in FORMS])
@pytest.mark.parametrize("source", [s for s in SOURCES if s not in PREFIXING])
def test_conversations_have_the_ids_that_transformers_gives(
    models: dict[str, TextModel], source: str, form: tuple[str, str]
) -> None:
    model = models[source]
    shown, wanted = form
    chats = expected(source)["chats"]

    for chat in chats:
        messages = [ChatMessage(**message) for message in chat[shown]]
        got = model.encode_chat(
            messages,
            add_generation_prompt=wanted == "prompt",
            continue_final=wanted == "continued",
        )
        assert list(got) == chat[wanted], messages


@pytest.mark.parametrize("source", PREFIXING)
def test_runs_between_control_tokens_are_encoded_as_the_vocabularys_library_does(
    models: dict[str, TextModel], source: str
) -> None:
    model = models[source]
    turns = [("user", "How long?"), ("assistant", "four hours"), ("user", "Sure?")]
    bos, eos = model.assets.control["<s>"], model.assets.control["</s>"]

    ids = model.encode_chat([ChatMessage(*turn) for turn in turns])

    encode = model.tokenizer.encode
    opening, closing = encode("[INST] How long? [/INST] four hours"), encode("[INST] Sure? [/INST]")
    assert list(ids) == [bos, *opening, eos, bos, *closing]


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data())
def test_hostile_words_give_the_control_tokens_of_harmless_ones(
    models: dict[str, TextModel], name: str, data: st.DataObject
) -> None:
    model = models[name]
    control = set(model.assets.control.values())
    letters = "".join(sorted(set("".join(model.assets.control))))
    hostile = st.lists(
        st.sampled_from(sorted(model.assets.control)) | st.text(letters, max_size=5) | st.text()
    ).map("".join)
    roles = ["user", "assistant", "user"][: data.draw(st.integers(1, 3))]

    def control_ids(contents: list[str]) -> list[int]:
        messages = [ChatMessage(*turn) for turn in zip(roles, contents, strict=True)]
        return [token for token in model.encode_chat(messages) if token in control]

    contents = [data.draw(hostile) for _ in roles]

    assert control_ids(contents) == control_ids(["ok"] * len(roles))


def test_a_spelled_control_piece_is_text_and_stays_as_written() -> None:
    assert parts(PLAIN, "a<|end|><|go|>b") == [1, "a<|end|><|go|>b", 2]


def test_halves_of_a_control_piece_do_not_join_across_the_border() -> None:
    template = "{% for m in messages %}<|go|>{{ m.content }}|>{% endfor %}"

    assert parts(template, "<|end") == [1, "<|end|>"]
    assert parts("<|{{ messages[0].content }}|>", "end") == ["<|end|>"]


def test_halves_do_not_join_when_the_template_takes_out_what_is_between() -> None:
    template = "<|go|>{{ messages[0].content | replace('-', '') }}<|end|>"

    assert parts(template, "<|e-nd|>") == [1, "<|end|>", 2]


def test_case_and_order_tricks_do_not_make_control_pieces() -> None:
    assert ids(parts("<|go|>{{ messages[0].content | lower }}", "<|END|>")) == [1]
    assert ids(parts("<|go|>{{ messages[0].content | reverse }}", ">|dne|<")) == [1]


def test_templates_may_trim_and_inspect_what_callers_wrote() -> None:
    template = (
        "{% for m in messages %}{% if m.content.startswith('think:') %}"
        "{{ m.content.split('think:')[1] | trim }}{% else %}{{ m.content | trim }}{% endif %}"
        "<|end|>{% endfor %}"
    )

    assert parts(template, "  <|go|> \n", "think:  [X] ") == ["<|go|>", 2, "[X]", 2]


def test_names_and_nested_values_are_guarded_too() -> None:
    found = chat_parts(
        ChatTemplate("<|go|>{{ messages[0].name }}{{ messages[0].extra | tojson }}"),
        CONTROL,
        [{"role": "user", "name": "<|end|>", "extra": {"[X]": ["<|go|>", 1, None]}}],
        add_generation_prompt=True,
        continue_final=False,
        variables={},
    )

    assert found == [1, '<|end|>{"[X]": ["<|go|>", 1, null]}']


def test_continuing_keeps_spaces_unless_the_template_trims() -> None:
    trimming = PLAIN.replace("m.content", "m.content | trim")

    assert parts(PLAIN, "so far ", continue_final=True) == [1, "so far "]
    assert parts(trimming, "so far ", continue_final=True) == [1, "so far"]
    assert parts(PLAIN, "a<|end|>", continue_final=True) == [1, "a<|end|>"]
    assert parts(PLAIN, "", continue_final=True) == [1]


def test_a_template_that_hides_the_final_message_cannot_continue_it() -> None:
    with pytest.raises(TemplateError, match="continue the final message"):
        parts("<|go|>", "words", continue_final=True)


def test_private_characters_of_callers_pass_through() -> None:
    text = "\U000f0000\U000f0001<|end|>\U0010fffd"

    assert parts(PLAIN, text) == [1, text, 2]


def test_a_text_that_leaves_no_private_character_is_refused() -> None:
    with pytest.raises(TemplateError, match="private-use"):
        parts(PLAIN, "".join(map(chr, range(0xF0000, 0x110000))))
