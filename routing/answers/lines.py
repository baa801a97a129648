"""Where in a model's text the answer stands.

Models are asked to end with a contract line, "Answer: X". They also think aloud before it, repeat
it, wrap it in markdown, and run on into a made-up next question after it. All matching here is by
RE2 with bounded patterns, so it is linear in the text; positions are those of the original text.
"""

import unicodedata
from dataclasses import dataclass

import re2

MAX_CHARS = 200_000
"""Of a longer text only the end is read."""
MAX_SEGMENT_CHARS = 400
"""Of a longer answer line only the beginning is read."""

_THINKING_ENDS = ("</think>", "</thinking>", "</thought>", "</seed:think>", "[/THINK]")
_THINKING_STARTS = ("<think>", "<thinking>", "<thought>", "<seed:think>", "[THINK]")

# "Answer" where a model writes another language: German, French, Spanish, Portuguese, Italian,
# Russian, Chinese, Japanese, Korean, Arabic. Only as a contract line, where it is no other word.
_FOREIGN_ANSWER = (
    r"(?:die )?(?:endgültige )?antwort|(?:la )?r(?:é|e\x{301}?)ponse(?: finale)?"
    r"|(?:la )?respuesta(?: final)?|(?:a )?resposta(?: final)?|(?:la )?risposta(?: finale)?"
    r"|(?:окончательный )?ответ|最[终終]答案|正[确確]答案|答案|答え|最終的?な?答え|回答"
    r"|정답|답|الإجابة|الجواب"
)

# A line that begins with "Answer: 4", "**Final answer:** 4", "The answer = 4", or a heading
# "### Answer" with 4 below it.
_CONTRACT = re2.compile(
    r"(?im)^[ \t>*_`#-]{0,8}(?:(?:so|thus|therefore|hence),? )?(?:the )?(?:final |correct |my )?"
    r"answer[ \t]{0,4}[*_`]{0,4}[ \t]{0,4}[:=][ \t*_`]{0,8}"
    rf"|^[ \t>*_`#-]{{0,8}}(?:{_FOREIGN_ANSWER})"
    r"[ \t]{0,4}[*_`]{0,4}[ \t]{0,4}[:=][ \t*_`]{0,8}"
    r"|^[ \t]{0,8}(?:#{1,6}|[*_]{1,3})[ \t]{0,4}(?:final )?answer[ \t*_#]{0,8}$"
)
# In a sentence: "the answer is 4", "The correct answer would be (B)", "which gives answer: 4".
_PHRASE = re2.compile(
    r"(?i)\banswer[*_`]{0,4}(?:[ \t]{0,4}[:=]"
    r"|[ \t]{1,4}(?:is|was|would be|will be|should be|must be|equals)\b[ \t]{0,4}:?)[ \t*_`]{0,8}"
)
_HASHES = re2.compile(r"(?m)^####[ \t]{0,8}")
_WRAPPER = re2.compile(r"\\(?:f?boxed|fbox|text|textbf|mathrm|mathbf)[ \t]{0,4}\{")
_BOXED = re2.compile(r"\\(?:f?boxed|fbox)[ \t]{0,4}\{")

# A line that begins another question: a base model goes on with its few-shot pattern, a chat model
# plays the user.
_RUN_ON = re2.compile(
    r"(?im)^[ \t>*#_]{0,8}(?:"
    r"(?:next |new |another )?(?:question|problem|exercise)[ \t]{0,2}#?[0-9]{0,4}[*_ \t]{0,4}[:.]"
    r"|(?:q|user|human)[ \t]{0,2}[0-9]{0,4}[*_ \t]{0,4}:"
    r"|<\|?(?:im_start|start_of_turn|user|endoftext|eot_id|im_end|end_of_turn)\b)"
)


_MINUS = "\u2212\u2010\u2011\ufe63\uff0d\u207b"
_SPECIAL = {
    **dict.fromkeys(map(ord, _MINUS), "-"),
    **dict.fromkeys(map(ord, "\u2018\u2019\u02bc\u00b4"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d"), '"'),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f\u3000\u2002\u2003"), " "),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    0x066B: ".",
    0x066C: ",",
    0x066A: "%",
    0x2044: "/",
    0x3002: ".",
}


class _Plain(dict[int, str]):
    """One character for one: typographic variants to ASCII, digits of all scripts to 0-9."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        plain = _SPECIAL.get(code)
        if plain is None:
            decimal = unicodedata.decimal(char, None)
            if decimal is not None:
                plain = str(decimal)
            elif 0xFF01 <= code <= 0xFF5E:
                plain = chr(code - 0xFEE0)
            else:
                plain = char
        self[code] = plain
        return plain


_PLAIN = _Plain()


def plain(text: str) -> str:
    """The same length, character by character: full-width forms, minus signs, digits, quotes."""
    return text if text.isascii() else text.translate(_PLAIN)


@dataclass(frozen=True)
class Segment:
    """A stretch of plain text that should hold the answer.

    start: where it begins in the original text. ends_text: nothing follows it there.
    """

    text: str
    start: int
    method: str
    ends_text: bool

    def span(self, begin: int, end: int) -> tuple[int, int]:
        return self.start + begin, self.start + end


@dataclass(frozen=True)
class Reading:
    """A model's text made ready: plain characters, without thinking and without run-on.

    offset: how far into the original text `text` begins. run_on: it was cut at a next question.
    """

    text: str
    offset: int
    run_on: bool = False

    def until(self, end: int) -> "Reading":
        return Reading(self.text[:end], self.offset, run_on=True)


def read(text: str) -> Reading | None:
    """None when the model was still thinking at the end."""
    offset = max(0, len(text) - MAX_CHARS)
    visible = plain(text[offset:])
    ends = [(visible.rfind(tag), len(tag)) for tag in _THINKING_ENDS]
    end, length = max(ends)
    if end >= 0:
        offset += end + length
        visible = visible[end + length :]
    if any(tag in visible for tag in _THINKING_STARTS):
        return None
    return Reading(visible, offset)


def cut_run_on(reading: Reading, first_answer: int) -> Reading:
    """Without what follows the first question that is begun after the first answer."""
    next_question = _RUN_ON.search(reading.text, first_answer)
    return reading if next_question is None else reading.until(next_question.start())


def contract_segment(reading: Reading) -> Segment | None:
    """What follows the last contract line (or, without one, "the answer is") before any run-on."""
    for pattern, method in ((_CONTRACT, "contract"), (_PHRASE, "phrase"), (_HASHES, "hashes")):
        first = pattern.search(reading.text)
        if first is None:
            continue
        kept = cut_run_on(reading, first.end())
        last = before_last = first.end()
        for match in pattern.finditer(kept.text, first.end()):
            last, before_last = match.end(), last
        segment = _line_at(kept, last, method)
        # "Answer: 4\n\nAnswer:" - a last line that was begun and left empty says nothing.
        return segment if segment.text.strip() else _line_at(kept, before_last, method)
    return None


def boxed_segment(reading: Reading) -> Segment | None:
    r"""The inside of the last complete \boxed{...} before any run-on."""
    first = _BOXED.search(reading.text)
    if first is None:
        return None
    kept = cut_run_on(reading, first.end())
    opening = first.end() - 1
    for match in _BOXED.finditer(kept.text, first.end()):
        opening = match.end() - 1
    closing = _closing_brace(kept.text, opening)
    if closing is None:
        return None
    inside = kept.text[opening + 1 : closing]
    return Segment(inside, kept.offset + opening + 1, "boxed", ends_text=False)


def unwrapped(segment: Segment) -> Segment:
    r"""The inside of \boxed{...} and \text{...}, where the segment has them."""
    match = _WRAPPER.search(segment.text)
    closing = None if match is None else _closing_brace(segment.text, match.end() - 1)
    if match is None or closing is None:
        return segment
    inside = segment.text[match.end() : closing]
    start = segment.start + match.end()
    return unwrapped(Segment(inside, start, segment.method, ends_text=False))


def _closing_brace(text: str, opening: int) -> int | None:
    depth = 0
    for index in range(opening, min(len(text), opening + MAX_SEGMENT_CHARS)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            depth -= 1
            if depth == 0:
                return index
    return None


def last_line(reading: Reading) -> Segment | None:
    """The last line with anything on it, before any run-on."""
    kept = cut_run_on(reading, 0)
    end = len(kept.text.rstrip())
    if end == 0:
        return None
    begin = kept.text.rfind("\n", 0, end) + 1
    return _clip(kept, begin, end, "last_line")


def only_line(reading: Reading) -> Segment | None:
    """The text, if it is a single line (a reply to "give only the answer")."""
    kept = cut_run_on(reading, 0)
    stripped = kept.text.strip()
    if not stripped or "\n" in stripped or len(stripped) > MAX_SEGMENT_CHARS:
        return None
    begin = kept.text.find(stripped)
    return _clip(kept, begin, begin + len(stripped), "bare")


def _line_at(reading: Reading, begin: int, method: str) -> Segment:
    """From `begin` to the end of the line; if nothing is there, the next line that has text."""
    text = reading.text
    end = text.find("\n", begin)
    while end >= 0 and not text[begin:end].strip(" \t\r*_`$:"):
        begin = end + 1
        end = text.find("\n", begin)
    return _clip(reading, begin, len(text) if end < 0 else end, method)


def _clip(reading: Reading, begin: int, end: int, method: str) -> Segment:
    ends_text = end >= len(reading.text) and not reading.run_on
    if end - begin > MAX_SEGMENT_CHARS:
        end, ends_text = begin + MAX_SEGMENT_CHARS, False
    return Segment(reading.text[begin:end], reading.offset + begin, method, ends_text)
