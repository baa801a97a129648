"""Contract lines, in English and where a model writes another language."""

import pytest

from routing.answers.choice import ChoiceExtractor
from routing.answers.lines import contract_segment, read
from routing.answers.number import NumberExtractor

FOREIGN = [
    "Antwort: {}",
    "**Antwort:** {}",
    "Die endgültige Antwort: {}",
    "Réponse : {}",
    "Re\u0301ponse : {}",
    "La réponse finale : {}",
    "Respuesta: {}",
    "La respuesta final: {}",
    "Resposta: {}",
    "Risposta: {}",
    "Ответ: {}",
    "ОТВЕТ: {}",
    "答案：{}",
    "最终答案：{}",
    "正确答案: {}",
    "答え：{}",
    "回答：{}",
    "정답: {}",
    "الجواب: {}",
    "## 答案：{}",
]


@pytest.mark.parametrize("line", FOREIGN)
def test_the_word_for_answer_is_known_in_other_languages(line: str) -> None:
    text = f"3 + 4 = 7\n{line.format('42')}\n"
    found = NumberExtractor().extract(text)
    assert (found.status, found.canonical, found.method) == ("ok", "42", "contract")
    assert ChoiceExtractor(dict.fromkeys("ABC", "")).extract(line.format("Ｂ")).canonical == "B"


@pytest.mark.parametrize(
    "text",
    [
        "Antworten: 3",  # another word
        "In der Antwort: 3",  # not at the beginning of the line
        "La respuesta es 3",  # no contract line
        "the responses: 3",
        "answered: 3",
    ],
)
def test_other_words_are_no_contract_lines(text: str) -> None:
    reading = read(text)
    assert reading is not None
    assert contract_segment(reading) is None


def test_the_last_line_counts_whatever_its_language() -> None:
    extract = NumberExtractor().extract
    assert extract("Answer: 1\nAntwort: 2").canonical == "2"
    assert extract("Antwort: 2\nAnswer: 1").canonical == "1"
