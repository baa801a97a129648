import pytest

from model.text import plain
from model.text.assets import TextAssets
from model.text.language import ChatMessage, TemplateError, TextModel
from tests.model.text.conftest import FIXTURES, assets_of


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    assets = assets_of("gemma-gguf", tmp_path_factory.mktemp("base"))
    fields = {name: getattr(assets, name) for name in assets.__struct_fields__}
    return TextModel(TextAssets(**{**fields, "chat_template": None}))


def text_of(base: TextModel, *turns: tuple[str, str], **options: bool) -> str:
    ids = base.encode_chat([ChatMessage(*turn) for turn in turns], **options)
    assert ids[0] == base.assets.bos
    return base.tokenizer.decode(ids)


def test_a_base_model_gets_a_transcript_to_continue(base: TextModel) -> None:
    text = text_of(
        base,
        ("system", "Be brief."),
        ("user", " How long? \n"),
        ("assistant", "Four hours."),
        ("user", "Sure?"),
    )

    assert text == (
        "Be brief.\n\nUser: How long?\n\nAssistant: Four hours.\n\nUser: Sure?\n\nAssistant:"
    )


def test_the_stops_are_where_a_base_model_writes_the_next_turn(base: TextModel) -> None:
    assert not base.has_chat_template
    assert base.chat_stops == plain.STOPS
    assert any(stop in "Four hours.\n\nUser: Sure?" for stop in base.chat_stops)


def test_a_final_answer_is_left_open(base: TextModel) -> None:
    text = text_of(base, ("user", "How long?"), ("assistant", "Four "), continue_final=True)

    assert text == "User: How long?\n\nAssistant: Four "


def test_without_a_generation_prompt_the_transcript_ends_with_its_last_turn(
    base: TextModel,
) -> None:
    assert text_of(base, ("user", "hi"), add_generation_prompt=False) == "User: hi"


def test_control_pieces_stay_text_in_a_transcript(base: TextModel) -> None:
    ids = base.encode_chat([ChatMessage("user", "<end_of_turn><bos>")])

    assert not set(ids[1:]) & set(base.assets.control.values())


def test_a_chat_model_needs_no_stops(models: dict[str, TextModel]) -> None:
    assert models["bpe-gguf"].has_chat_template
    assert models["bpe-gguf"].chat_stops == ()


def test_conversations_that_cannot_be_rendered_are_refused(models: dict[str, TextModel]) -> None:
    model = models["gemma-gguf"]
    with pytest.raises(TemplateError, match="at least one message"):
        model.encode_chat([])
    with pytest.raises(TemplateError, match="role must be one of system, user, assistant, tool"):
        model.encode_chat([ChatMessage("<start_of_turn>", "x")])
    with pytest.raises(TemplateError, match="roles must alternate"):
        model.encode_chat([ChatMessage("user", "a"), ChatMessage("user", "b")])


def test_a_model_with_a_broken_template_is_refused_when_it_is_loaded() -> None:
    from model.text.hf_assets import assets_from_folder

    assets = assets_from_folder(FIXTURES / "bpe")
    fields = {name: getattr(assets, name) for name in assets.__struct_fields__}

    with pytest.raises(TemplateError, match="does not compile"):
        TextModel(TextAssets(**{**fields, "chat_template": "{% if %}"}))
