"""From what the caller asked for to the extractor that does it."""

from routing.answers.base import Extractor
from routing.answers.choice import ChoiceExtractor
from routing.answers.exact import ExactExtractor
from routing.answers.marker import MarkerExtractor
from routing.answers.number import NumberExtractor
from routing.answers.options import offered
from routing.answers.specs import (
    AnswerSpec,
    ChoiceAnswer,
    ExactAnswer,
    MarkerAnswer,
    NumberAnswer,
)


def extractor_for(spec: AnswerSpec, question: str = "") -> Extractor:
    """question: the question's text, for the choices it offers when the caller named none."""
    match spec:
        case NumberAnswer():
            return NumberExtractor()
        case ChoiceAnswer(choices=choices):
            return ChoiceExtractor(offered(choices, question))
        case ExactAnswer():
            return ExactExtractor()
        case MarkerAnswer(pattern=pattern):
            return MarkerExtractor(pattern)


def canonical_gold(extractor: Extractor, text: str) -> str | None:
    """The canonical form of a true answer as people write it; None when it has none."""
    return extractor.extract(f"Answer: {text}").vote
