"""How a question is put to the model: for the answer alone, or to think first.

A chat model gets its conversation with an instruction at the end of the last user message. A base
model gets plain text: a few worked questions, then the caller's, in the form that its answer
should take, with the stop strings that end it there. Instructions are short and plain, because
the smallest models follow no others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from routing.answers.registry import extractor_for
from routing.answers.specs import AnswerSpec

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


@dataclass(frozen=True)
class Exemplar:
    question: str
    reasoning: str
    answer: str


def direct_prompt(messages: Sequence[Message], answer: AnswerSpec, *, chat: bool) -> PromptText:
    """Asks for the answer without any reasoning. Raises ValueError without a user message."""
    form = extractor_for(answer, question_text(messages)).form
    if chat:
        return ChatPrompt(_instructed(messages, _DIRECT, form))
    shots = "".join(f"Question: {e.question}\nAnswer: {e.answer}\n\n" for e in _shots(answer))
    return TextPrompt(f"{shots}{_transcript(messages)}\nAnswer:", (NEXT_QUESTION, "\n\n"))


def reasoned_prompt(messages: Sequence[Message], answer: AnswerSpec, *, chat: bool) -> PromptText:
    """Asks to think step by step and to end with the contract line. Raises as `direct_prompt`."""
    form = extractor_for(answer, question_text(messages)).form
    if chat:
        return ChatPrompt(_instructed(messages, _REASONED, form))
    shots = "".join(
        f"Question: {e.question}\nReasoning: {e.reasoning}\nAnswer: {e.answer}\n\n"
        for e in _shots(answer)
    )
    return TextPrompt(f"{shots}{_transcript(messages)}\nReasoning:", (NEXT_QUESTION,))


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
    messages: Sequence[Message], instruction: _Instruction, form: str | None
) -> tuple[Message, ...]:
    last = max(index for index, message in enumerate(messages) if message.role == "user")
    # The form may hold a caller's braces (choices), so it is put in, not formatted.
    text = instruction.free if form is None else instruction.form.replace("{form}", form)
    turns = list(messages)
    turns[last] = Message("user", f"{messages[last].content.rstrip()}\n\n{text}")
    return tuple(turns)


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


def _shots(answer: AnswerSpec) -> tuple[Exemplar, ...]:
    match answer.type:
        case "number":
            return _NUMBER_SHOTS
        case "choice":
            return _CHOICE_SHOTS
        case _:
            return _EXACT_SHOTS


# Written for Pollux; none is from a dataset.
_NUMBER_SHOTS = (
    Exemplar(
        "A baker fills 6 trays with 8 rolls each and burns 5 of them. How many rolls are good?",
        "6 trays with 8 rolls each are 6 * 8 = 48 rolls. 5 are burnt, so 48 - 5 = 43 are good.",
        "43",
    ),
    Exemplar(
        "A ferry leaves at 9 and arrives at 14. It waits 2 hours in a harbour on the way. "
        "For how many hours does it sail?",
        "From 9 to 14 are 14 - 9 = 5 hours. It waits 2 hours, so it sails 5 - 2 = 3 hours.",
        "3",
    ),
    Exemplar(
        "A scarf costs $12 and a hat costs half as much. What do two scarves and a hat cost?",
        "A hat costs 12 / 2 = 6 dollars. Two scarves cost 2 * 12 = 24 dollars. "
        "Together that is 24 + 6 = 30 dollars.",
        "30",
    ),
)
_CHOICE_SHOTS = (
    Exemplar(
        "Which of these floats on water?\nA) an iron nail\nB) a cork\nC) a pebble\nD) a coin",
        "Iron, stone and the metal of coins are heavier than water. Cork is lighter, so it floats.",
        "B",
    ),
    Exemplar(
        "A shop sells 3 pens for 6 coins. How many coins do 5 pens cost?\n"
        "A) 8\nB) 9\nC) 12\nD) 10\nE) 15",
        "One pen costs 6 / 3 = 2 coins. 5 pens cost 5 * 2 = 10 coins, which is option D.",
        "D",
    ),
    Exemplar(
        "Which animal lays eggs?\nA) the hen\nB) the cow\nC) the cat\nD) the horse",
        "Cows, cats and horses bear their young alive. Hens lay eggs.",
        "A",
    ),
)
_EXACT_SHOTS = (
    Exemplar(
        "Which season comes after spring?",
        "The seasons follow each other as winter, spring, summer, autumn. After spring comes "
        "summer.",
        "summer",
    ),
    Exemplar(
        "Ada is taller than Ben, and Ben is taller than Cem. Who is the shortest?",
        "Ben is shorter than Ada, and Cem is shorter than Ben. So Cem is the shortest.",
        "Cem",
    ),
)
