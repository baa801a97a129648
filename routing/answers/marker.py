"""What a caller's regular expression finds last, before the model runs on into a next question."""

from routing.answers.base import Extraction, FinalLine, nothing
from routing.answers.exact import MAX_ANSWER_CHARS, canonical_text
from routing.answers.grammar import MARKED_TEXT
from routing.answers.lines import cut_run_on, read
from routing.answers.patterns import DEFAULT_PATTERN, compile_pattern


class MarkerExtractor:
    name = "marker"
    blocking = False

    def __init__(self, pattern: str) -> None:
        """Raises ValueError for what is no RE2 expression."""
        # Whoever brings a pattern of their own also tells the model what to write.
        asked = pattern == DEFAULT_PATTERN
        self.form = "<answer>" if asked else None
        self.final_line = FinalLine(regex=MARKED_TEXT) if asked else None
        self._first = compile_pattern(pattern)
        # A greedy prefix makes the match that begins last the leftmost one: one pass, where
        # stepping through all matches could take a pass for each.
        self._last = compile_pattern(rf"(?s:.*)(?P<whole_match_>{pattern})")
        self._group = 2 if self._first.groups else 1

    def extract(self, text: str, *, truncated: bool = False) -> Extraction:
        reading = read(text)
        if reading is None:
            return nothing("thinking", truncated=truncated)
        first = self._first.search(reading.text)
        if first is None:
            return nothing("marker", truncated=truncated)
        kept = cut_run_on(reading, first.end())
        last = self._last.search(kept.text)
        if last is None:
            # The pattern ends at an anchor that only the uncut text satisfies.
            return nothing("marker", truncated=truncated)
        begin, end = last.span(self._group)
        if begin < 0:
            return nothing("marker", truncated=truncated)
        span = (kept.offset + begin, kept.offset + end)
        raw = text[span[0] : span[1]]
        if truncated and not kept.run_on and end == len(kept.text):
            return Extraction(raw, None, span, "marker", "truncated")
        canonical = canonical_text(raw) if len(raw) <= MAX_ANSWER_CHARS else ""
        if not canonical:
            return Extraction(raw, None, span, "marker", "invalid")
        return Extraction(raw, canonical, span, "marker", "ok")
