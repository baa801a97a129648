"""From what the caller asked for to the extractor that does it."""

from routing.answers.auto import resolve
from routing.answers.base import Extractor
from routing.answers.boolean import BooleanExtractor
from routing.answers.boxed import BoxedExtractor
from routing.answers.choice import ChoiceExtractor
from routing.answers.exact import MAX_ANSWER_CHARS, ExactExtractor, canonical_text
from routing.answers.json_answer import JsonExtractor
from routing.answers.label import LabelExtractor
from routing.answers.marker import MarkerExtractor
from routing.answers.mathematics import MathExtractor
from routing.answers.number import NumberExtractor
from routing.answers.options import offered
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


def extractor_for(spec: AnswerSpec, question: str = "") -> Extractor:
    """question: its text, for the choices it offers when the caller named none, and for `auto`."""
    match spec:
        case NumberAnswer():
            return NumberExtractor()
        case ChoiceAnswer(choices=choices):
            return ChoiceExtractor(offered(choices, question))
        case ExactAnswer():
            return ExactExtractor()
        case MarkerAnswer(pattern=pattern):
            return MarkerExtractor(pattern)
        case BooleanAnswer(true=true, false=false):
            return BooleanExtractor(true, false)
        case LabelAnswer(labels=labels):
            return LabelExtractor(labels)
        case BoxedAnswer():
            return BoxedExtractor()
        case MathAnswer():
            return MathExtractor()
        case JsonAnswer(json_schema=schema, pointer=pointer):
            return JsonExtractor(schema, pointer)
        case AutoAnswer():
            return extractor_for(resolve(spec, question), question)


def canonical_gold(extractor: Extractor, text: str) -> str | None:
    """The vote that a reference answer would be, as a data set writes it: "18", "B", "$1,200".

    Read as if a model had answered it; a longer solution with its own "#### 18" is read as such.
    None when it is no answer of this kind. May block where the extractor does.
    """
    answer = text.strip()
    for said in (f"Answer: {answer}", answer):
        vote = extractor.extract(said).vote
        if vote is not None:
            return vote
    if isinstance(extractor, MarkerExtractor) and len(answer) <= MAX_ANSWER_CHARS:
        # The caller's pattern finds answers in texts; the reference answer stands alone.
        return canonical_text(answer) or None
    return None
