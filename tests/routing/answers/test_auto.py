"""Which kind of answer a question asks for."""

import pytest

from routing.answers.auto import resolve
from routing.answers.registry import extractor_for
from routing.answers.specs import (
    AutoAnswer,
    ChoiceAnswer,
    ExactAnswer,
    JsonAnswer,
    NumberAnswer,
)

KINDS = {
    "choice": [
        "Capital of France? A) Rome B) Paris C) Oslo",
        "How many legs has a spider?\nA. 6\nB. 8\nC. 10",
        "Is it true?\n(A) yes\n(B) no",
    ],
    "boolean": [
        "Is 17 a prime number?",
        "A box holds 12 eggs. Are 3 boxes enough for 40 eggs?",
        "Did Rome fall before Constantinople? Think it over.",
        "Answer yes or no: do penguins fly",
        "True or false: the sum of two odd numbers is odd.",
        "Isn't $x^2$ even for x = 2?",
        "2是不是质数，是否？",
    ],
    "math": [
        "Simplify $\\frac{6}{8}$.",
        "What is the derivative of \\(x^3\\)?",
        "How many? Put your answer in \\boxed{}.",
        "Find all $x$ with $x^2 = 4$.",
        "Convert the point $(0,3)$ to polar coordinates.",
    ],
    "number": [
        "How many apples has Tom?",
        "How much does it cost?",
        "What is 12*4?",
        "12 * 4 = ?",
        "what's (3 + 4) * 2",
        "Calculate the total.",
        "Solve for x: 2x + 3 = 7",
        "A train goes 60 km in 2 hours. What is its average speed?",
        "Can you tell me how many days a year has?",
        "Сколько дней в году?",
        "一年有多少天？",
    ],
    "exact": [
        "Who wrote Hamlet?",
        "Name the capital of Peru.",
        "Is it red or blue?",
        "Can you translate this?",
        "Do you know who wrote Hamlet?",
        "What happened on 2023-04-05?",
        "It costs $5 or $6, which shop is it?",
        "",
    ],
}


@pytest.mark.parametrize(("kind", "question"), [(k, q) for k, qs in KINDS.items() for q in qs])
def test_the_kind_follows_from_the_question(kind: str, question: str) -> None:
    assert resolve(AutoAnswer(), question, mathematics=True).type == kind


def test_without_the_package_formulas_are_compared_as_text() -> None:
    for question in KINDS["math"]:
        assert resolve(AutoAnswer(), question, mathematics=False).type == "boxed"


def test_a_demanded_schema_comes_before_everything() -> None:
    schema = {"type": "object"}
    question = KINDS["choice"][0]
    assert resolve(AutoAnswer(), question, schema) == JsonAnswer(schema=schema)
    with pytest.raises(ValueError, match="recursion"):
        resolve(AutoAnswer(), question, {"$ref": "#"})


@pytest.mark.parametrize("spec", [NumberAnswer(), ChoiceAnswer(), ExactAnswer()])
def test_a_named_kind_stays(spec: NumberAnswer | ChoiceAnswer | ExactAnswer) -> None:
    assert resolve(spec, "How many?", {"type": "object"}) is spec


def test_the_extractor_for_auto_is_the_one_of_the_kind() -> None:
    extractor = extractor_for(AutoAnswer(), "Capital of France? A) Rome B) Paris")
    assert extractor.extract("Answer: Paris").canonical == "B"


def test_megabytes_of_question_are_looked_at() -> None:
    for piece in ("is ", "how ", "?", "$", "1+", "A) x B) ", "\\", "(", "1 "):
        resolve(AutoAnswer(), piece * (1_000_000 // len(piece)))
