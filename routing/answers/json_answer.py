"""A JSON value, compared by value: equal ones vote together, however they are spelled.

Read from the contract line, else from the last fenced block, else the last object or array of the
text. With a schema only what it allows is a vote; with a pointer only what it points at votes.
"""

import json
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
            return self._schema.expanded
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
        seen = scan(source)
        kept = reading if seen.first_end is None else cut_run_on(reading, seen.first_end)
        if kept.run_on:
            source = source[: len(kept.text)]
            seen = scan(source)
        found, method = self._find(source, kept, seen)
        if truncated and not kept.run_on and _may_go_on(source, found, method, seen):
            return nothing(method, truncated=True)
        if found is None:
            return nothing(method, truncated=truncated)
        begin, end = found.begin + reading.offset, found.end + reading.offset
        return self._decide(text[begin:end], (begin, end), method)

    def _find(self, source: str, kept: Reading, seen: Scan) -> tuple[Found | None, str]:
        line = contract_segment(kept)
        if line is not None:
            begin = line.start - kept.offset
            lead = _LEAD.match(kept.text[begin : begin + 64])
            found = value_at(source, begin + (lead.end() if lead else 0))
            if found is not None:
                return found, line.method
        fences = [match.end() for match in _FENCE.finditer(kept.text)]
        # Each block has two fences: the last value begins behind one of the last two.
        for fence in reversed(fences[-2:]):
            found = value_at(source, fence)
            if found is not None:
                return found, "fenced"
        found = self._last(seen)
        if found is None:
            whole = value_at(source, 0)
            if whole is not None and not source[whole.end :].strip():
                return whole, "bare"
        return found, "none" if found is None else "bare"

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


def _may_go_on(source: str, found: Found | None, method: str, seen: Scan) -> bool:
    """Whether what was cut off may have belonged to the value."""
    if found is None or (method == "bare" and seen.unfinished):
        return True
    scalar = source[found.end - 1] not in '}]"'
    return scalar and found.end == len(source.rstrip())


def shown(schema: dict[str, Any]) -> str:
    """A schema on one line, for the instruction to a model."""
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
