"""JSON out of nasty texts."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.answers.json_answer import MAX_VOTE_CHARS, JsonExtractor
from routing.answers.json_text import MAX_DEPTH, scan, value_at
from routing.answers.json_values import canonical_json
from routing.answers.pointer import parsed, resolve

ANY = JsonExtractor()
COUNT = JsonExtractor(
    {
        "type": "object",
        "properties": {"answer": {"type": "integer"}, "why": {"type": "string"}},
        "required": ["answer"],
    },
    "/answer",
)
DEEP = JsonExtractor(pointer="/a~1b/0/c~0d")

GOOD = [
    (ANY, 'Answer: {"b": 1.0, "a": [2e0, "x"]}', '{"a":[2,"x"],"b":1}', "contract"),
    (ANY, '**Answer:** `{"a": 1}`', '{"a":1}', "contract"),
    (ANY, 'Answer:\n```json\n{"a":\n 1}\n```\nDone.', '{"a":1}', "contract"),
    (ANY, 'The answer is {"a": {"b": "}"}}.', '{"a":{"b":"}"}}', "phrase"),
    (ANY, "Answer: 42.", "42", "contract"),
    (ANY, 'Answer: "Paris"', '"Paris"', "contract"),
    (ANY, "Answer: null", "null", "contract"),
    (ANY, "答案：[1, 2]", "[1,2]", "contract"),
    (ANY, 'So:\n```json\n{"a": 1}\n```\nas in [1].', '{"a":1}', "fenced"),
    (ANY, '```\n"x"\n```', '"x"', "fenced"),
    (ANY, 'First {"a": 1}, no, {"a": 2}', '{"a":2}', "bare"),
    (ANY, 'The set {x | x > 3} in JSON: {"x": 4}', '{"x":4}', "bare"),
    (ANY, 'He said "take {"a": 1}', '{"a":1}', "bare"),
    (ANY, '[note: {"a": 1}', '{"a":1}', "bare"),
    (ANY, "true", "true", "bare"),
    (ANY, ' {"a": "\\u00e9\\ud83d\\ude00"} ', '{"a":"é😀"}', "bare"),
    (ANY, '"\\ud800"', '"\ufffd"', "bare"),
    (
        ANY,
        "[1e2, 1.50, -0, 0.10, 12345678901234567890]",
        "[100,1.5,0,0.1,12345678901234567890]",
        "bare",
    ),
    (ANY, '{"a": 1}\n\nQuestion: next?\n{"a": 2}', '{"a":1}', "bare"),
    (ANY, '<think>{"a": 1}</think>{"a": 2}', '{"a":2}', "bare"),
    (ANY, 'By [1] we know.\nProblem: it is 4.\nAnswer: {"a": 4}', '{"a":4}', "contract"),
    (ANY, 'Answer: 42\n\nQuestion: next?\nAnswer: {"a": 4}', "42", "contract"),
    (COUNT, 'x {"answer": 4, "why": "2+2"}', "4", "bare"),
    (COUNT, '{"answer": 4.0} as in [1]', "4", "bare"),
    (DEEP, '{"a/b": [{"c~d": [3]}]}', "[3]", "bare"),
]

BAD = [
    (ANY, "", "invalid"),
    (ANY, "no braces", "invalid"),
    (ANY, "{'a': 1}", "invalid"),
    (ANY, '{"a": 1,}', "invalid"),
    (ANY, '{"a": 1', "invalid"),
    (ANY, "Answer: NaN", "invalid"),
    (ANY, "Answer: 1e999", "invalid"),
    (ANY, "Answer: 007", "invalid"),
    (ANY, "Answer: " + "9" * 5000, "invalid"),
    (ANY, "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "ok"),  # the inner ones are JSON
    (ANY, '["' + "x" * MAX_VOTE_CHARS + '"]', "invalid"),
    (ANY, "[" + "1," * 10_000 + "1]", "invalid"),
    (ANY, '{"a": 1, "a": 2}', "ambiguous"),
    (COUNT, '{"answer": "4"}', "invalid"),
    (COUNT, '{"answer": 4.5}', "invalid"),
    (COUNT, '{"why": "x"}', "invalid"),
    (COUNT, "[4]", "invalid"),
    (DEEP, '{"a/b": []}', "invalid"),
    (DEEP, '{"a/b": 1}', "invalid"),
]


@pytest.mark.parametrize(("extractor", "text", "canonical", "method"), GOOD)
def test_reads(extractor: JsonExtractor, text: str, canonical: str, method: str) -> None:
    found = extractor.extract(text)
    assert (found.status, found.canonical, found.method) == ("ok", canonical, method)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(("extractor", "text", "status"), BAD)
def test_refuses(extractor: JsonExtractor, text: str, status: str) -> None:
    assert extractor.extract(text).status == status


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"a": 1}', "ok"),
        ('Answer: {"a": 1}', "ok"),
        ('Answer: "x"', "ok"),
        ("Answer: 42", "truncated"),
        ("Answer: 42\n", "truncated"),
        ("Answer: 42 is", "ok"),
        ('{"a": 1', "truncated"),
        ('{"a": {"b": 1}', "truncated"),
        ('{"a": 0} no, {"a":', "truncated"),
        ("", "truncated"),
    ],
)
def test_of_a_cut_text_only_a_finished_value_votes(text: str, status: str) -> None:
    assert ANY.extract(text, truncated=True).status == status


# A tag such as <think> within a string would be taken for the model's.
STRINGS = st.text(st.characters(exclude_characters="<＜"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(-1e9, 1e9) | STRINGS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRINGS, inner, max_size=3),
    max_leaves=8,
)
# A quote right behind a stray bracket does begin a string; those before it do not.
PROSE = st.text(st.sampled_from("ab {}[],:'\\\n"), max_size=20)


@given(value=VALUES, indent=st.sampled_from([None, 1]), ascii_only=st.booleans())
def test_spellings_of_a_value_vote_together(value, indent, ascii_only) -> None:  # type: ignore[no-untyped-def]
    spelled = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    found = ANY.extract(f"Thus\nAnswer: {spelled}")
    vote = canonical_json(value)
    if len(vote) <= MAX_VOTE_CHARS:
        assert found.canonical == vote
        assert canonical_json(json.loads(vote)) == vote


@given(before=PROSE, value=st.dictionaries(st.text(), st.integers(), min_size=1, max_size=2))
@settings(max_examples=300)
def test_prose_before_a_value_does_not_hide_it(before: str, value: dict[str, int]) -> None:
    spelled = json.dumps(value)
    text = f"{before}; {spelled}"  # ";" is no JSON, so that nothing before it can go on
    found = scan(text).last_object
    assert found is not None
    assert text[found.begin : found.end] == spelled


@given(st.text(st.sampled_from('ab1 {}[]",:\\\n'), max_size=30))
@settings(max_examples=500)
def test_what_the_scan_finds_is_json_and_it_misses_no_whole_text(text: str) -> None:
    seen = scan(text)
    for found in (seen.last_object, seen.last_array):
        if found is not None:
            json.loads(text[found.begin : found.end])
    try:
        whole = json.loads(text)
    except ValueError:
        return
    if isinstance(whole, dict | list):
        assert [f for f in (seen.last_object, seen.last_array) if f] != []
        found = value_at(text, 0)
        assert found is not None
        assert json.loads(text[found.begin : found.end]) == whole


@pytest.mark.parametrize(
    "piece", ["{", "[", '["', '{"a":', "[1,", '"', '["a \\"', "[]", "[[]", '{"a":1}', "\\", '[{"":']
)
def test_megabytes_of_openings_are_scanned_once(piece: str) -> None:
    scan(piece * (500_000 // len(piece)))


@pytest.mark.parametrize(
    ("pointer", "value", "target"),
    [
        ("", {"a": 1}, {"a": 1}),
        ("/a", {"a": 1}, 1),
        ("/", {"": 2}, 2),
        ("/a/1", {"a": [1, 2]}, 2),
        ("/1", {"1": 3}, 3),
        ("/m~0n", {"m~n": 8}, 8),
        ("/a~1b", {"a/b": 1}, 1),
        ("/~01", {"~1": 5}, 5),
    ],
)
def test_pointers_lead_where_rfc_6901_says(pointer: str, value: object, target: object) -> None:
    assert resolve(value, pointer) == target


@pytest.mark.parametrize("pointer", ["/b", "/a/2", "/a/-", "/a/01", "/a/x", "/a/1/0"])
def test_pointers_to_nothing_are_lookup_errors(pointer: str) -> None:
    with pytest.raises(LookupError):
        resolve({"a": [1, 2]}, pointer)


@pytest.mark.parametrize("pointer", ["a", "#/a", "/~", "/~2", "/a~"])
def test_what_is_no_pointer_is_refused(pointer: str) -> None:
    with pytest.raises(ValueError, match="pointer"):
        parsed(pointer)
