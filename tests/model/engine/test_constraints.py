"""Grammars over vocabularies of several kinds, and what a guide makes of the tokens of a path."""

import json
import random
import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import MAX_GRAMMAR_BYTES, Constraint, InvalidParameter, SamplingParams
from model.engine import constraints
from model.engine.constraints import Constraints, Grammar, Vocabulary
from model.engine.grammar_trial import BadGrammar, try_out
from model.engine.guide import Guide, Marker, Masks
from model.text.language import TextModel
from tests.model.engine.doubles import LetterText, unpacked
from tests.model.text.conftest import SOURCES, assets_of

WORDS = [
    *(bytes([byte]) for byte in range(32, 127)),
    b"\n",
    b"Answer",
    b"Answer:",
    b": 4",
    b": forty",
    b":**",
    b"42",
    b"",
    b"",
]
CONTROL, END = len(WORDS) - 2, len(WORDS) - 1


class WordTokenizer:
    """Single characters and a few words. Takes the longest that fit."""

    vocab_size = len(WORDS)

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        ids, rest = [], text.encode()
        while rest:
            fitting = [token for token, word in enumerate(WORDS) if word and rest.startswith(word)]
            ids.append(max(fitting, key=lambda token: len(WORDS[token])))
            rest = rest[len(WORDS[ids[-1]]) :]
        return ids

    def token_bytes(self, token: int) -> bytes:
        return WORDS[token] if token < len(WORDS) else b""

    def piece(self, token: int) -> str:
        return WORDS[token].decode()

    def decode(self, tokens) -> str:
        return b"".join(WORDS[token] for token in tokens).decode()


ids = WordTokenizer().encode
PADDED = len(WORDS) + 40
VOCABULARY = Vocabulary(WordTokenizer(), (END,), (CONTROL,), PADDED)


def guide_of(constraint: Constraint, generated=(), vocabulary=VOCABULARY, **sampling) -> Guide:
    params = SamplingParams(**{"max_tokens": 50, "constraint": constraint, **sampling})
    return Guide(params, Grammar(vocabulary, *constraint.grammar), tuple(generated))


def allowed(guide: Guide) -> list[int]:
    return unpacked(Masks().of({0: guide})[0])


def word(text: str) -> int:
    (token,) = ids(text)
    return token


ANSWER = Constraint(regex=" [0-9]+", after="Answer:")


def test_the_marker_may_end_inside_a_token_that_goes_on_as_the_constraint_allows():
    guide = guide_of(ANSWER)
    assert guide.place(word("Answer"), False) == (word("Answer"),)
    assert not guide.steered
    assert guide.place(word(": 4"), False) == (word(": 4"),)
    assert guide.steered
    assert word("2") in allowed(guide)
    assert word(" ") not in allowed(guide)


@pytest.mark.parametrize("token", [": forty", ":**"])
def test_a_token_that_goes_on_otherwise_is_cut_at_the_marker(token):
    guide = guide_of(ANSWER)
    guide.place(word("Answer"), False)
    assert guide.place(word(token), False) == (word(":"),)
    assert allowed(guide) == [word(" ")]


def test_masks_never_allow_control_tokens_padding_or_ends_where_the_text_may_not_end():
    guide = guide_of(Constraint(regex="(.|\n){2,3}"))
    assert set(allowed(guide)) == {t for t, spelled in enumerate(WORDS) if spelled} - {
        t for t, spelled in enumerate(WORDS) if len(spelled) > 3
    }
    guide.place(word("a"), False)
    guide.place(word("b"), False)
    assert END in allowed(guide)
    assert CONTROL not in allowed(guide)
    guide.place(END, True)
    special = guide_of(Constraint(lark=f'start: "a" | <[{CONTROL}]>'))
    assert allowed(special) == [word("a")]


def test_a_grammar_of_control_tokens_alone_allows_nothing():
    with pytest.raises(BadGrammar, match="no token"):
        Grammar(VOCABULARY, "lark", f"start: <[{CONTROL}]>")


def test_an_end_that_is_ignored_is_allowed_only_where_nothing_else_is():
    guide = guide_of(Constraint(regex="ab?"), ignore_eos=True)
    guide.place(word("a"), False)
    assert allowed(guide) == [word("b")]
    empty = guide_of(Constraint(regex=""), ignore_eos=True)
    assert allowed(empty) == [END]
    empty.place(END, False)
    assert empty.complete


def test_a_path_comes_to_the_same_masks_from_its_tokens():
    constraint = Constraint(json_schema='{"type": "array", "items": {"enum": [1, "x", null]}}')
    rng = random.Random(3)
    for _ in range(5):
        guide, tokens = guide_of(constraint), []
        while not guide.complete and len(tokens) < 40:
            mask = allowed(guide)
            assert mask == allowed(guide_of(constraint, tokens))
            token = rng.choice(mask)
            if token == END:
                break
            tokens.append(token)
            guide.place(token, False)


@given(text=st.text("abA", max_size=30), cuts=st.lists(st.integers(0, 30), max_size=8))
def test_a_marker_is_found_wherever_the_text_is_cut(text, cuts):
    for wanted in ("a", "aA", "abab", "aab"):
        marker, edges = Marker(wanted), sorted({0, len(text), *(c for c in cuts if c < len(text))})
        rest = None
        for start, end in pairwise(edges):
            if rest is None:
                rest = marker.push(text[start:end].encode())
                rest_at = end
        at = text.find(wanted)
        assert marker.found == (at >= 0)
        if at >= 0:
            assert rest is not None
            assert rest.decode() == text[at + len(wanted) : rest_at]


pieces = st.sampled_from(["a", "b", "[a-c]", "[0-9]", "Answer", "x|yz", "42", r"\.", "é"])
regexes = st.recursive(
    pieces,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda both: f"({both[0]})({both[1]})"),
        st.tuples(inner, inner).map(lambda both: f"({both[0]})|({both[1]})"),
        st.tuples(inner, st.sampled_from(["?", "*", "+", "{2}", "{0,3}"])).map(
            lambda both: f"({both[0]}){both[1]}"
        ),
    ),
    max_leaves=6,
)


@given(regex=regexes, seed=st.integers(0, 2**32))
@settings(max_examples=150)
def test_what_comes_out_of_a_mask_matches_its_regex(letters, regex, seed):
    rng = random.Random(seed)
    guide = guide_of(Constraint(regex=regex), vocabulary=letters, max_tokens=10_000)
    text = b""
    for step in range(300):
        choices = allowed(guide)
        assert choices
        if END_OF_BYTES in choices and (step > 20 or rng.random() < 0.3):
            break
        token = rng.choice(choices)
        if token == END_OF_BYTES:
            break
        guide.place(token, False)
        text += letters.tokens[token]
        if guide.complete:
            break
    if guide.complete or END_OF_BYTES in allowed(guide):
        assert re.fullmatch(regex, text.decode())


END_OF_BYTES = 258


class ByteTokenizer:
    """Every byte, and two words."""

    vocab_size = 259
    words = (*(bytes([byte]) for byte in range(256)), b"Ans", b"wer", b"")

    def encode(self, text: str, *, first: bool = True) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token: int) -> bytes:
        return self.words[token]

    def piece(self, token: int) -> str:
        return repr(self.words[token])

    def decode(self, tokens) -> str:
        return b"".join(self.words[token] for token in tokens).decode(errors="replace")


@pytest.fixture(scope="module")
def letters() -> Vocabulary:
    return Vocabulary(ByteTokenizer(), (END_OF_BYTES,), (), 259)


@pytest.mark.parametrize("source", SOURCES)
def test_every_kind_of_tokenizer_spells_what_a_grammar_says(source, tmp_path):
    model = TextModel(assets_of(source, tmp_path))
    size = model.tokenizer.vocab_size
    vocabulary = Vocabulary(model.tokenizer, model.eos, model.assets.control.values(), size)
    for text in ("the", "a b", "\n", "{", " {x"):
        assert model.tokenizer.decode(vocabulary.spell(text.encode())).strip(" ") == text.strip(" ")
        assert vocabulary._spelled(vocabulary.encode(text)) == text.encode()
    schema = {"type": "object", "properties": {"n": {"enum": ["the", 1]}}, "required": ["n"]}
    constraint = Constraint(json_schema=json.dumps({**schema, "additionalProperties": False}))
    rng = random.Random(1)
    for _ in range(5):
        guide, data = guide_of(constraint, vocabulary=vocabulary), b""
        while not guide.complete:
            choices = allowed(guide)
            assert not set(choices) & (set(model.assets.control.values()) - set(model.eos))
            token = rng.choice(choices)
            guide.place(token, False)
            data += model.tokenizer.token_bytes(token)
        assert json.loads(data)["n"] in ("the", 1)


def test_json_is_written_in_one_way():
    guide = guide_of(Constraint(json_schema='{"type": "array", "items": {"const": 1}}'))
    for letter in "[1, 1]":
        assert word(letter) in allowed(guide)
        guide.place(word(letter), False)
    assert guide.complete
    guide = guide_of(Constraint(json_schema='{"type": "array", "items": {"const": 1}}'))
    guide.place(word("["), False)
    assert not {word(" "), word("\n")} & set(allowed(guide))


HOSTILE = {
    "minutes": ("json_schema", '{"type": "integer", "multipleOf": 99999989}'),
    "stack": (
        "lark",
        "start: r0\n" + "\n".join(f'r{i}: "a" r{i + 1}' for i in range(3000)) + '\nr3000: "b"',
    ),
    "rows": ("lark", "start: " + '"a"? ' * 10000),
    "nesting": ("regex", "(" * 30000 + "a" + ")" * 30000),
    "file": ("json_schema", '{"$ref": "file:///etc/passwd"}'),
    "recursion": ("json_schema", '{"$ref": "#"}'),
    "depth": ("json_schema", '{"items":' * 3000 + "{}" + "}" * 3000),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_grammar_is_refused_in_one_line(name):
    kind, text = HOSTILE[name]
    compiler = Constraints.of(LetterText(), 64)
    with pytest.raises(InvalidParameter) as caught:
        compiler.compile(Constraint(**{kind: text})).result()
    message = str(caught.value)
    assert caught.value.param == "constraint"
    assert "\n" not in message
    assert len(message) < 300
    assert "Traceback" not in message


def test_a_mask_that_costs_too_much_is_an_error_not_a_wait():
    """The first mask is cheap, the second is not."""
    guide = guide_of(Constraint(lark='start: "a" ' + '"b"? "c"? ' * 1100))
    guide.place(word("a"), False)
    Masks().of({0: guide})
    assert guide.error
    assert guide.broken
    assert "\n" not in guide.error


def test_a_grammar_is_tried_out_by_another_process():
    try_out("regex", "[a-z]+")
    with pytest.raises(BadGrammar, match="unclosed"):
        try_out("regex", "(a")


def test_a_grammar_is_tried_out_once_and_compiled_for_each_who_asks(monkeypatch):
    tried = []
    monkeypatch.setattr(constraints, "try_out", lambda kind, text: tried.append(text))
    compiler = Constraints.of(LetterText(), 64)
    asked = [compiler.compile(Constraint(regex="a+", after=after)) for after in (None, "x", "y")]
    assert len({id(grammar.result()) for grammar in asked}) == 3
    assert tried == ["a+"]


def test_what_was_wrong_with_a_grammar_is_remembered(monkeypatch):
    compiler = Constraints.of(LetterText(), 64)
    first = compiler.compile(Constraint(regex="(a")).exception()
    monkeypatch.setattr(constraints, "try_out", None)
    again = compiler.compile(Constraint(regex="(a")).exception()
    assert isinstance(again, InvalidParameter)
    assert str(again) == str(first)


def test_what_one_group_learns_of_a_grammar_is_not_another_ones_limit():
    """Matchers of one compiled grammar share the states of its regular expressions; this one has
    2 ** 17, of which nearly every letter finds new ones."""
    greedy = Constraint(regex="(a|b)*a(a|b){16}c")
    compiler = Constraints.of(LetterText(), 64)
    rng = random.Random(0)
    most = 30_000

    def letters_until_the_limit(grammar: Grammar) -> int:
        guide = Guide(SamplingParams(max_tokens=most, constraint=greedy), grammar)
        for length in range(most):
            mask = Masks().of({0: guide})[0]
            if guide.broken:
                assert "states" in guide.error
                return length
            assert mask[0] & 0b11 == 0b11
            guide.place(rng.randrange(2), False)
        return most

    first = compiler.compile(greedy).result()
    length = letters_until_the_limit(first)
    assert 1000 < length < most
    assert letters_until_the_limit(first) < 100
    assert letters_until_the_limit(compiler.compile(greedy).result()) > 1000


def test_several_masks_are_those_of_each_alone():
    guides = {row: guide_of(Constraint(regex=f"[{row}-9a]+b")) for row in range(6)}
    together = Masks().of(guides)
    for row, guide in guides.items():
        assert np.array_equal(together[row], Masks().of({0: guide})[0])
        assert word(str(row)) in unpacked(together[row])
    assert Masks().of({}) == {}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"regex": "a", "lark": "start: A"},
        {"regex": "a" * (MAX_GRAMMAR_BYTES + 1)},
        {"regex": "é" * (MAX_GRAMMAR_BYTES // 2 + 1)},
        {"regex": "\ud800"},
        {"regex": "a", "after": ""},
        {"regex": "a", "after": "x" * 300},
        {"regex": "a", "closing": (1,)},
        {"regex": "a", "after": "A", "closing": (1,) * 65},
        {"regex": "a", "after": "A", "reserve": 5},
        {"regex": "a", "after": "A", "closing": (1, 2), "reserve": 2},
        {"regex": "a", "after": "A", "closing": (1, 2), "reserve": -1},
    ],
)
def test_constraints_out_of_bounds_are_none(fields):
    with pytest.raises(InvalidParameter) as caught:
        Constraint(**fields)
    assert caught.value.param == "constraint"
