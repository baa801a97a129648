"""How a question is put to the model: for the answer alone, or to think first.

A chat model gets its conversation with an instruction at the end of the last user message. A base
model gets plain text: a few worked questions, then the caller's, in the form that its answer
should take, with the stop strings that end it there. Instructions are short and plain, because
the smallest models follow no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.answers.auto import resolve
from routing.answers.json_answer import shown
from routing.answers.registry import extractor_for
from routing.answers.specs import AnswerSpec, JsonAnswer, LabelAnswer
from routing.exemplars import exemplars

NEXT_QUESTION = "\nQuestion:"


@dataclass(frozen=True)
class Message:
    """One turn of a conversation: "system", "user" or "assistant"."""

    role: str
    content: str


@dataclass(frozen=True)
class ChatPrompt:
    """For the model's chat template."""

    messages: tuple[Message, ...]
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class TextPrompt:
    """To be continued as it is. stop: strings that end the continuation."""

    text: str
    stop: tuple[str, ...]


PromptText = ChatPrompt | TextPrompt


def direct_prompt(messages: Sequence[Message], answer: AnswerSpec, *, chat: bool) -> PromptText:
    """Asks for the answer without any reasoning. Raises ValueError without a user message."""
    answer = resolve(answer, question_text(messages))
    if chat:
        return ChatPrompt(_instructed(messages, _DIRECT, answer))
    shots = "".join(f"Question: {e.question}\nAnswer: {e.answer}\n\n" for e in exemplars(answer))
    asked = _transcript(messages) + _offer(answer)
    return TextPrompt(f"{shots}{asked}\nAnswer:", (NEXT_QUESTION, "\n\n"))


def reasoned_prompt(messages: Sequence[Message], answer: AnswerSpec, *, chat: bool) -> PromptText:
    """Asks to think step by step and to end with the contract line. Raises as `direct_prompt`."""
    answer = resolve(answer, question_text(messages))
    if chat:
        return ChatPrompt(_instructed(messages, _REASONED, answer))
    shots = "".join(
        f"Question: {e.question}\nReasoning: {e.reasoning}\nAnswer: {e.answer}\n\n"
        for e in exemplars(answer)
    )
    asked = _transcript(messages) + _offer(answer)
    return TextPrompt(f"{shots}{asked}\nReasoning:", (NEXT_QUESTION,))


def question_text(messages: Sequence[Message]) -> str:
    """The last thing the user said. Raises ValueError when the user said nothing."""
    for message in reversed(messages):
        if message.role == "user":
            return message.content
    raise ValueError("a routed question needs a user message")


@dataclass(frozen=True)
class _Instruction:
    """free: without a contract line. form: with one, "{form}" filled in."""

    free: str
    form: str


_DIRECT = _Instruction(
    "Give only the final answer, without explanation.",
    "Give only the final answer, without explanation, in this form:\nAnswer: {form}",
)
_REASONED = _Instruction(
    "Think step by step, then give the final answer.",
    "Think step by step. Then give the final answer on the last line, in this form:\n"
    "Answer: {form}",
)


def _instructed(
    messages: Sequence[Message], instruction: _Instruction, answer: AnswerSpec
) -> tuple[Message, ...]:
    form = extractor_for(answer, question_text(messages)).form
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    # The form may hold a caller's braces (choices), so it is put in, not formatted.
    text = instruction.free if form is None else instruction.form.replace("{form}", form)
    turns = list(messages)
    asked = messages[last].content.rstrip()
    turns[last] = Message("user", f"{asked}\n\n{_schema(answer)}{text}")
    return tuple(turns)


def _schema(answer: AnswerSpec) -> str:
    """What the JSON must be like, as a line before the instruction; "" for other answers."""
    if not isinstance(answer, JsonAnswer) or answer.json_schema is None:
        return ""
    return f"The answer is JSON that fits this schema: {shown(answer.json_schema)}\n"


def _offer(answer: AnswerSpec) -> str:
    """What a base model, which gets no instruction, has to know beside the question."""
    if isinstance(answer, LabelAnswer):
        return "\nLabels: " + ", ".join(answer.labels)
    return "\n" + _schema(answer).strip() if _schema(answer) else ""


def _transcript(messages: Sequence[Message]) -> str:
    """The conversation as plain text, up to the last user message; it ends with that question."""
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    lines = []
    for message in messages[: last + 1]:
        text = message.content.strip()
        match message.role:
            case "user":
                lines.append(f"Question: {text}")
            case "assistant":
                lines.append(f"Answer: {text}\n")
            case _:
                lines.append(f"{text}\n")
    return "\n".join(lines)
