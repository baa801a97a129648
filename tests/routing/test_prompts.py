"""How questions are put to chat models and to base models."""

import hashlib
from collections.abc import Iterable

import pytest

from routing.answers.registry import canonical_gold, extractor_for
from routing.answers.specs import (
    AnswerSpec,
    AutoAnswer,
    BooleanAnswer,
    BoxedAnswer,
    ChoiceAnswer,
    ExactAnswer,
    JsonAnswer,
    LabelAnswer,
    MarkerAnswer,
    MathAnswer,
    NumberAnswer,
)
from routing.prompts import (
    ChatPrompt,
    Message,
    PromptText,
    TextPrompt,
    direct_prompt,
    question_text,
    reasoned_prompt,
)

LABELS = LabelAnswer(labels={"praise": (), "complaint": (), "noun": (), "verb": (), "adverb": ()})
SPECS: list[AnswerSpec] = [
    NumberAnswer(), ChoiceAnswer(), ExactAnswer(), MarkerAnswer(), BooleanAnswer(),
    BooleanAnswer(true="ja", false="nein"), BoxedAnswer(), MathAnswer(), JsonAnswer(), AutoAnswer(),
]  # fmt: skip
# sha256 of the prompts' texts, to be changed only on purpose.
WORDINGS = {
    ("number", True): "c8230a2983cfa535",
    ("number", False): "1422706b7ae7bd22",
    ("choice", True): "3b9a5492b2e58f9d",
    ("choice", False): "e187c2e8dc63e923",
}
SCHEMA = JsonAnswer(schema={"type": "object", "required": ["n"]}, pointer="/n")


def digest(prompts: Iterable[PromptText]) -> str:
    texts = [
        prompt.messages[-1].content if isinstance(prompt, ChatPrompt) else prompt.text
        for prompt in prompts
    ]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


ASKED = [Message("system", "Be kind."), Message("user", "How many?")]


@pytest.mark.parametrize("spec", [*SPECS, LABELS, SCHEMA])
def test_chat_models_get_the_contract_line_at_the_end_of_the_last_user_message(
    spec: AnswerSpec,
) -> None:
    for build in (direct_prompt, reasoned_prompt):
        talk = [*ASKED, Message("assistant", "Of what?"), Message("user", "Eggs. ")]
        prompt = build(talk, spec, chat=True)
        assert isinstance(prompt, ChatPrompt)
        assert prompt.messages[:-1] == tuple(talk[:-1])
        last = prompt.messages[-1]
        assert last.role == "user"
        assert last.content.startswith("Eggs.\n\n")
        assert last.content.splitlines()[-1].startswith(("Answer: <", "Answer: \\boxed{<"))


def test_only_the_reasoned_prompt_asks_to_think() -> None:
    direct = direct_prompt(ASKED, NumberAnswer(), chat=True)
    reasoned = reasoned_prompt(ASKED, NumberAnswer(), chat=True)
    assert isinstance(direct, ChatPrompt)
    assert isinstance(reasoned, ChatPrompt)
    assert "step by step" in reasoned.messages[-1].content
    assert "step by step" not in direct.messages[-1].content
    assert "without explanation" in direct.messages[-1].content


def test_a_pattern_of_the_callers_own_gets_no_contract_line() -> None:
    spec = MarkerAnswer(pattern="#### (.+)")
    for build in (direct_prompt, reasoned_prompt):
        prompt = build(ASKED, spec, chat=True)
        assert isinstance(prompt, ChatPrompt)
        assert "Answer:" not in prompt.messages[-1].content


def test_braces_in_a_callers_choices_are_only_text() -> None:
    spec = ChoiceAnswer(choices={"{yes}": "", "{form}": ""})
    prompt = direct_prompt(ASKED, spec, chat=True)
    assert isinstance(prompt, ChatPrompt)
    assert prompt.messages[-1].content.endswith("Answer: <{yes} or {form}>")


@pytest.mark.parametrize("spec", SPECS)
def test_base_models_get_worked_questions_and_stop_before_the_next(spec: AnswerSpec) -> None:
    direct = direct_prompt(ASKED, spec, chat=False)
    reasoned = reasoned_prompt(ASKED, spec, chat=False)
    assert isinstance(direct, TextPrompt)
    assert isinstance(reasoned, TextPrompt)
    assert direct.text.endswith("Be kind.\n\nQuestion: How many?\nAnswer:")
    assert reasoned.text.endswith("Be kind.\n\nQuestion: How many?\nReasoning:")
    assert "Reasoning:" not in direct.text
    assert "\nQuestion:" in direct.stop
    assert "\nQuestion:" in reasoned.stop


@pytest.mark.parametrize(
    "spec",
    [spec for spec in SPECS if not isinstance(spec, AutoAnswer)]
    + [LABELS, JsonAnswer(pointer="/result/x~1y")],
)
def test_every_exemplar_is_read_by_its_own_extractor(spec: AnswerSpec) -> None:
    prompt = reasoned_prompt(ASKED, spec, chat=False)
    assert isinstance(prompt, TextPrompt)
    shots = prompt.text.partition("\n\nBe kind.")[0].split("\n\n")
    assert len(shots) >= 2
    for shot in shots:
        question, _, reply = shot.partition("\nReasoning:")
        extractor = extractor_for(spec, question)
        found = extractor.extract(reply)
        assert found.status == "ok"
        written = reply.rpartition("Answer: ")[2]
        assert found.vote == canonical_gold(extractor, written)
        if spec.type in ("number", "choice", "boolean", "label"):
            assert found.vote == written


def test_labels_are_named_to_a_base_model_as_in_the_worked_questions() -> None:
    prompt = direct_prompt(ASKED, LabelAnswer(labels={"a": (), "b c": ()}), chat=False)
    assert isinstance(prompt, TextPrompt)
    assert "\nLabels: praise, complaint\nAnswer: complaint" in prompt.text
    assert prompt.text.endswith("Question: How many?\nLabels: a, b c\nAnswer:")


def test_a_schema_is_shown_to_every_model() -> None:
    line = 'The answer is JSON that fits this schema: {"type":"object","required":["n"]}\n'
    chat = direct_prompt(ASKED, SCHEMA, chat=True)
    assert isinstance(chat, ChatPrompt)
    assert line in chat.messages[-1].content
    assert chat.messages[-1].content.endswith("Answer: <JSON>")
    base = direct_prompt(ASKED, SCHEMA, chat=False)
    assert isinstance(base, TextPrompt)
    assert base.text.endswith(f"{line}Answer:")
    assert '\nAnswer: {"n": 5}\n' in base.text


def test_the_kind_that_auto_finds_is_the_one_that_is_asked_for() -> None:
    for chat in (True, False):
        for build in (direct_prompt, reasoned_prompt):
            asked = build(ASKED, AutoAnswer(), chat=chat)
            assert asked == build(ASKED, NumberAnswer(), chat=chat)


def test_the_wording_for_numbers_and_choices_stays() -> None:
    """Recorded polls, and calibrations made from them, are true of these words only."""
    talk = [Message("user", "How many?")]
    digests = {
        (spec.type, chat): digest(
            build(talk, spec, chat=chat) for build in (direct_prompt, reasoned_prompt)
        )
        for spec in (NumberAnswer(), ChoiceAnswer())
        for chat in (True, False)
    }
    assert digests == WORDINGS


def test_earlier_turns_become_answered_questions_for_a_base_model() -> None:
    talk = [Message("user", "1+1?"), Message("assistant", "2"), Message("user", "And 2+2?")]
    prompt = direct_prompt(talk, NumberAnswer(), chat=False)
    assert isinstance(prompt, TextPrompt)
    assert prompt.text.endswith("Question: 1+1?\nAnswer: 2\n\nQuestion: And 2+2?\nAnswer:")


def test_the_question_is_what_the_user_said_last() -> None:
    assert question_text([*ASKED, Message("assistant", "x")]) == "How many?"
    with pytest.raises(ValueError, match="needs a user message"):
        question_text([Message("system", "x")])
    with pytest.raises(ValueError, match="needs a user message"):
        direct_prompt([], NumberAnswer(), chat=True)
