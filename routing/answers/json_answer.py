"""A JSON value, compared by value: equal ones vote together, however they are spelled.

Read from the contract line, else from the last fenced block, else the last object or array of the
text. With a schema only what it allows is a vote; with a pointer only what it points at votes.
"""

import json
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import re2

from routing.answers.base import Extraction, FinalLine, nothing
from routing.answers.json_schema import checked
from routing.answers.json_text import Found, Scan, scan, value_at
from routing.answers.json_values import DuplicateKey, canonical_json, loads, size
from routing.answers.lines import Reading, contract_segment, cut_run_on, read
from routing.answers.pointer import parsed, resolve

MAX_VALUE_CHARS = 20_000
MAX_VOTE_CHARS = 2_000
_FENCE = re2.compile(r"(?m)^[ \t]{0,8}(?:```|~~~)[ \t]{0,4}(?:[jJ][sS][oO][nN]5?)?[ \t]{0,8}\r?\n")
# Between "Answer:" and the value.
_LEAD = re2.compile(r"[\s*_]{0,16}(?:`{1,3}(?:json)?\s{0,8})?")


@dataclass(frozen=True)
class _Place:
    """open_ended: if the text was cut at its end, the value may have been going on."""

    found: Found | None
    method: str
    open_ended: bool


class JsonExtractor:
    name = "json"
    form = "<JSON>"
    blocking = False

    def __init__(self, schema: dict[str, Any] | None = None, pointer: str = "") -> None:
        """Raises ValueError for a schema or a pointer that is not taken."""
        self._schema = None if schema is None else checked(schema)
        self._pointer = pointer
        self._wanted = None if self._schema is None else self._schema.expanded.get("type")
        self.final_line = FinalLine(json_schema=self._grammar())

    def _grammar(self) -> dict[str, Any]:
        if self._schema is not None:
            return deepcopy(self._schema.expanded)  # the original is shared
        grammar: dict[str, Any] = {}
        for step in reversed(parsed(self._pointer)):
            grammar = {"type": "object", "properties": {step: grammar}, "required": [step]}
        return grammar

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        reading = read(text)
        if reading is None:
            return nothing("thinking", truncated=truncated)
        # Plain characters are for finding lines; the value is read as it was written.
        source = text[reading.offset : reading.offset + len(reading.text)]
        place = _on_line(source, reading) or self._in_text(source, reading)
        found = place.found
        if found is None or (truncated and place.open_ended):
            return nothing(place.method, truncated=truncated)
        begin, end = found.begin + reading.offset, found.end + reading.offset
        return self._decide(text[begin:end], (begin, end), place.method)

    def _in_text(self, source: str, reading: Reading) -> _Place:
        """Without a value on a contract line: in a fenced block, or anywhere before a run-on."""
        seen = scan(source)
        if seen.first_end is not None:
            reading = cut_run_on(reading, seen.first_end)
            source = source[: len(reading.text)]
            seen = scan(source) if reading.run_on else seen
        found, method = _fenced(source, reading), "fenced"
        if found is None:
            found, method = self._last(seen) or _whole(source), "bare"
        if found is None:
            return _Place(None, "none", open_ended=True)
        unfinished = seen.unfinished or _is_open_scalar(source, found)
        return _Place(found, method, open_ended=unfinished and not reading.run_on)

    def _last(self, seen: Scan) -> Found | None:
        """The last object or array; of the type that the schema wants, where it says so."""
        kinds = {"object": seen.last_object, "array": seen.last_array}
        if isinstance(self._wanted, str) and self._wanted in kinds:
            return kinds[self._wanted]
        found = [each for each in kinds.values() if each is not None]
        return max(found, key=lambda each: each.end, default=None)

    def _decide(self, raw: str, span: tuple[int, int], method: str) -> Extraction:
        try:
            vote = self._vote(raw)
        except DuplicateKey:
            return Extraction(raw, None, span, method, "ambiguous")
        except (ValueError, LookupError):
            return Extraction(raw, None, span, method, "invalid")
        return Extraction(raw, vote, span, method, "ok")

    def _vote(self, raw: str) -> str:
        """Raises ValueError or LookupError for a value that is none."""
        if len(raw) > MAX_VALUE_CHARS:
            raise ValueError("too long")
        exact, loose = loads(raw)
        if self._schema is not None and not self._schema.allows(loose, size(loose)):
            raise ValueError("not what the schema allows")
        vote = canonical_json(resolve(exact, self._pointer))
        if len(vote) > MAX_VOTE_CHARS:
            raise ValueError("too long")
        return vote


def _on_line(source: str, reading: Reading) -> _Place | None:
    """The value that a contract line begins with."""
    line = contract_segment(reading)
    if line is None:
        return None
    begin = line.start - reading.offset
    lead = _LEAD.match(reading.text[begin : begin + 64])
    found = value_at(source, begin + (lead.end() if lead else 0))
    if found is None:
        return None
    return _Place(found, line.method, open_ended=_is_open_scalar(source, found))


def _fenced(source: str, reading: Reading) -> Found | None:
    """Each block has two fences: the last value begins behind one of the last two."""
    fences = [match.end() for match in _FENCE.finditer(reading.text)]
    values = (value_at(source, fence) for fence in reversed(fences[-2:]))
    return next((value for value in values if value is not None), None)


def _whole(source: str) -> Found | None:
    """A text that is a number, a string, true, false or null, and nothing else."""
    found = value_at(source, 0)
    return None if found is None or source[found.end :].strip() else found


def _is_open_scalar(source: str, found: Found) -> bool:
    """Whether more digits could follow if the text was cut here."""
    return source[found.end - 1] not in '}]"' and found.end == len(source.rstrip())


def shown(schema: dict[str, Any]) -> str:
    """A schema on one line, for the instruction to a model."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
