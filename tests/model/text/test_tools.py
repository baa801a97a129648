"""What a model writes, read as text and calls, however it is cut into pieces."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from model.text.tools.calls import MAX_CALL_CHARS, MAX_CALLS, Call, Said
from model.text.tools.families import ToolFamily, call_reader, family_of

NAMES = ("weather", "now")
FAMILIES: tuple[ToolFamily, ...] = ("hermes", "llama", "generic")


def written(family: ToolFamily, name: str, arguments: object) -> str:
    if family == "llama":
        return json.dumps({"name": name, "parameters": arguments})
    call = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{call}\n</tool_call>" if family == "hermes" else call


def read(family: ToolFamily, pieces: list[str], most: int = MAX_CALLS) -> list[Said]:
    """Neighbouring texts as one."""
    reader = call_reader(family, NAMES, most)
    said = [item for piece in pieces for item in reader.push(piece)] + reader.finish()
    joined: list[Said] = []
    for item in said:
        if isinstance(item, str) and joined and isinstance(joined[-1], str):
            joined[-1] += item
        else:
            joined.append(item)
    return joined


@pytest.mark.parametrize("family", FAMILIES)
def test_one_call_is_read(family: ToolFamily) -> None:
    text = written(family, "weather", {"city": "Łódź", "at": {"hour": 3}})
    assert read(family, [text]) == [Call("weather", '{"city": "Łódź", "at": {"hour": 3}}')]


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("hermes", "{}\n{}"),
        ("hermes", "{}{}"),
        ("llama", "{}; {}"),
        ("llama", "\n{}\n{}\n"),
        ("generic", "[{}, {}]"),
        ("generic", "{};{};"),
    ],
)
def test_several_calls_are_read(family: ToolFamily, text: str) -> None:
    text = text.format(written(family, "weather", {"city": "Oslo"}), written(family, "now", {}))
    assert read(family, [text]) == [Call("weather", '{"city": "Oslo"}'), Call("now", "{}")]


def test_text_before_and_behind_marked_calls_stays_text() -> None:
    call = written("hermes", "now", {})
    assert read("hermes", [f"Let me see.\n\n{call}\nThat was it. \n"]) == [
        "Let me see.",
        Call("now", "{}"),
        "That was it. \n",
    ]


def test_text_before_a_call_streams_before_the_call_is_there() -> None:
    reader = call_reader("hermes", NAMES)
    assert reader.push("Let me <b>look</b>") == ["Let me <b>look</b>"]
    assert reader.push(" <tool") == []
    assert reader.push("s>. ") == [" <tools>."]
    assert reader.push('<tool_call>{"name": "now", "argu') == []
    assert reader.push('ments": {}}</tool_') == []
    assert reader.push("call>") == [Call("now", "{}")]
    assert reader.finish() == []


def test_a_closing_within_a_string_closes_nothing() -> None:
    text = written("hermes", "weather", {"city": '</tool_call> {"<tool_call>'})
    (call,) = read("hermes", [text])
    assert isinstance(call, Call)
    assert json.loads(call.arguments) == {"city": '</tool_call> {"<tool_call>'}


def test_a_call_whose_closing_never_came_is_a_call() -> None:
    assert read("hermes", ['<tool_call>\n{"name": "now", "arguments": {}}\n']) == [
        Call("now", "{}")
    ]


MALFORMED = [
    "{",
    "nonsense",
    "[]",
    '"now"',
    '{"name": "now"}',
    '{"name": "other", "arguments": {}}',
    '{"name": ["now"], "arguments": {}}',
    '{"name": "now", "arguments": []}',
    '{"name": "now", "arguments": "x"}',
    '{"name": "now", "arguments": {"x": NaN}}',
    '{"name": "now", "arguments": {"x": 1e999}}',
    '{"name": "now", "arguments": {"x": "\\ud800"}}',
    '{"name": "now", "arguments": {"x": ' + "9" * 5000 + "}}",
    '{"name": "now", "arguments": ' + '{"x":' * 2000 + "1" + "}" * 2001,
    '{"name": "now", "arguments": {"x": ' + "[" * 64 + "]" * 64 + "}}",
    '{"name": "now", "arguments": {}} trailing',
    '{"name": "now, "arguments": {}}',
]


@pytest.mark.parametrize("inside", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_call_is_text_as_it_was_written(inside: str) -> None:
    marked = f"<tool_call>\n{inside}\n</tool_call>"
    assert read("hermes", [marked]) == [marked]
    if not inside.endswith("trailing"):
        assert read("llama", [inside]) == [inside]
        assert read("generic", [inside]) == [inside]


def test_behind_a_malformed_call_others_are_still_read() -> None:
    text = f'<tool_call>\n{{"name": "now</tool_call>\n{written("hermes", "now", {})}'
    assert read("hermes", [text]) == ['<tool_call>\n{"name": "now</tool_call>', Call("now", "{}")]


def test_json_that_is_no_call_is_an_ordinary_answer() -> None:
    for text in ('{"city": "Oslo"}', " [1, 2] and more", "So: " + written("llama", "now", {})):
        assert read("llama", [text]) == [text]
        assert read("generic", [text]) == [text]


def test_calls_beyond_the_most_are_dropped() -> None:
    text = "\n".join([written("hermes", "now", {}), written("hermes", "weather", {})])
    assert read("hermes", [text], most=1) == [Call("now", "{}")]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_held_back_is_bounded(family: ToolFamily) -> None:
    reader = call_reader(family, NAMES)
    opening = '<tool_call>{"' if family == "hermes" else '{"'
    said = reader.push(opening) + [s for _ in range(80) for s in reader.push("x" * 1000)]
    assert sum(len(str(item)) for item in said) >= 80_000 - MAX_CALL_CHARS
    said += reader.finish()
    assert "".join(map(str, said)) == opening + "x" * 80_000


PIECES = st.sampled_from(
    [
        "<tool_call>", "</tool_call>", '{"name": "now", "arguments": {}}', "{", "}", '"', "\\",
        '{"name": "weather", "parameters": {"city": "}\\"{"}}', "[", "]", ", ", ";", "\n", " ", "a",
        "<tool_", "call>", "Ł",
    ]
)  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@given(pieces=st.lists(PIECES, max_size=30), data=st.data())
def test_where_the_text_is_cut_changes_nothing(
    family: ToolFamily, pieces: list[str], data: st.DataObject
) -> None:
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    cut = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(family, cut) == read(family, [*text])


@pytest.mark.parametrize("family", FAMILIES)
@given(pieces=st.lists(PIECES, max_size=30))
@example(pieces=["\n"] * 3)
def test_no_text_is_lost_or_made_up(family: ToolFamily, pieces: list[str]) -> None:
    text = "".join(pieces)
    said = read(family, [text])
    if any(isinstance(item, Call) for item in said):
        at = 0
        for item in said:
            if isinstance(item, str):
                at = text.index(item, at) + len(item)
    else:
        assert "".join(map(str, said)) == text


@pytest.mark.parametrize(
    ("template", "family"),
    [
        ("... within <tool_call></tool_call> XML tags:\n<tool_call>...", "hermes"),
        ("<tool_call>\n<function=name>", "generic"),
        ("<tool_call>{name}\n<arg_key>", "generic"),
        ('{"name": function name, "parameters": dictionary of argument name and value}', "llama"),
        ("{% if tools %}<|python_tag|>{% endif %}", "llama"),
        ("[AVAILABLE_TOOLS]{{ tools }}", "generic"),
    ],
)
def test_the_family_is_told_by_the_template(template: str, family: ToolFamily) -> None:
    assert family_of(template) == family
