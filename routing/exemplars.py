"""Worked questions for base models, a few for each kind of answer.

Written for Pollux; none is from a data set. Each answer is one that its kind's extractor reads.
"""

import json
from dataclasses import dataclass
from typing import Any

from routing.answers import pointer
from routing.answers.specs import AnswerSpec, BooleanAnswer, JsonAnswer


@dataclass(frozen=True)
class Exemplar:
    question: str
    reasoning: str
    answer: str


def exemplars(answer: AnswerSpec) -> tuple[Exemplar, ...]:
    """For a spec that is not `auto` any more (`answers.auto.resolve`)."""
    match answer:
        case BooleanAnswer(true=true, false=false):
            words = {"yes": true, "no": false}
            return tuple(Exemplar(e.question, e.reasoning, words[e.answer]) for e in _BOOLEAN)
        case JsonAnswer(pointer=where):
            return tuple(
                Exemplar(e.question, e.reasoning, _as_json(e.answer, where)) for e in _JSON
            )
    return _BY_KIND[answer.type]


def _as_json(answer: str, where: str) -> str:
    """The answer where the caller's pointer points; without one, under "answer"."""
    value: Any = json.loads(answer)
    for step in reversed(pointer.parsed(where) or ("answer",)):
        value = {step: value}
    return json.dumps(value)


_NUMBER = (
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
_CHOICE = (
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
_EXACT = (
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
_BOOLEAN = (
    Exemplar(
        "A box holds 12 eggs. Are 3 boxes enough for 40 eggs?",
        "3 boxes hold 3 * 12 = 36 eggs. 36 is less than 40, so they are not enough.",
        "no",
    ),
    Exemplar(
        "Every owl is a bird. Hedwig is an owl. Is Hedwig a bird?",
        "Hedwig is an owl, and all owls are birds. So Hedwig is a bird.",
        "yes",
    ),
    Exemplar(
        "A shop opens at 9 and closes at 17. Is it open at half past 17?",
        "Half past 17 is later than 17, when the shop closes. So it is not open.",
        "no",
    ),
)
_BOXED = (
    Exemplar(
        "Simplify $\\frac{6}{8}$.",
        "6 and 8 are both divisible by 2. $\\frac{6}{8} = \\frac{3}{4}$.",
        "\\boxed{\\frac{3}{4}}",
    ),
    Exemplar(
        "Solve $2x + 6 = 0$ for $x$.",
        "$2x = -6$, so $x = -6 / 2 = -3$.",
        "\\boxed{-3}",
    ),
    Exemplar(
        "Expand $(x + 2)(x - 2)$.",
        "The product is $x^2 - 2x + 2x - 4 = x^2 - 4$.",
        "\\boxed{x^2 - 4}",
    ),
)
_MATH = tuple(
    Exemplar(e.question, e.reasoning, e.answer.removeprefix("\\boxed{")[:-1]) for e in _BOXED
)
_LABEL = (
    Exemplar(
        "The soup was cold and the waiter was rude.\nLabels: praise, complaint",
        "Cold soup and a rude waiter are faults that the guest found. This is a complaint.",
        "complaint",
    ),
    Exemplar(
        'Which part of speech is the word "quickly"?\nLabels: noun, verb, adverb',
        '"Quickly" says how something is done. Words that do so are adverbs.',
        "adverb",
    ),
    Exemplar(
        "What a lovely garden you have!\nLabels: praise, complaint",
        "The speaker likes the garden and says so. This is praise.",
        "praise",
    ),
)
_JSON = (
    Exemplar(
        "A table seats 4 people. How many tables do 20 people need?",
        "20 people need 20 / 4 = 5 tables.",
        "5",
    ),
    Exemplar(
        "Which of the colours red and green means that one may go?",
        "At traffic lights red means stop and green means go.",
        '"green"',
    ),
)
_BY_KIND = {
    "number": _NUMBER, "choice": _CHOICE, "exact": _EXACT, "marker": _EXACT, "label": _LABEL,
    "boxed": _BOXED, "math": _MATH,
}  # fmt: skip
