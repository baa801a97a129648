import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.control import ControlPieces, Disguise, OutOfPrivateCharacters

PIECES = {"<a>": 1, "<a>b": 2, "a>": 3, "<|end|>": 4, " x": 5, "\n\n": 6}
CONTROL = ControlPieces(PIECES)
spelled = st.lists(st.sampled_from([*PIECES, "<", ">", "|", "a", "end", " ", "é"])).map("".join)


def test_the_longest_piece_wins() -> None:
    assert CONTROL.cut("1<a>b2<a>3") == ["1", 2, "2", 1, "3"]


def test_cutting_text_without_control_pieces_leaves_it() -> None:
    assert CONTROL.cut("plain < text") == ["plain < text"]
    assert CONTROL.cut("") == []
    assert ControlPieces({}).cut("<a>") == ["<a>"]


@given(text=spelled)
def test_cutting_loses_nothing(text: str) -> None:
    names = {token: piece for piece, token in PIECES.items()}

    parts = CONTROL.cut(text)

    assert "".join(part if isinstance(part, str) else names[part] for part in parts) == text


@given(text=spelled)
def test_guarded_text_spells_no_control_piece_and_comes_back(text: str) -> None:
    disguise = Disguise.avoiding(CONTROL, [text])

    guarded = disguise.guarded(text)

    assert not CONTROL.occurrences(guarded)
    assert disguise.lifted(guarded) == text
    assert len(guarded) == len(text)


@given(text=st.text() | spelled, before=spelled, after=spelled)
def test_wholly_disguised_text_adds_no_control_piece_to_what_surrounds_it(
    text: str, before: str, after: str
) -> None:
    pieces = ControlPieces({"<a>": 1, "<a>b": 2, "a>": 3, "<|end|>": 4})
    disguise = Disguise.avoiding(pieces, [text, before, after])
    whole = disguise.whole("|" + text)
    alone = [part for side in (before, after) for part in pieces.cut(side)]

    together = pieces.cut(before + whole + after)

    assert [p for p in together if isinstance(p, int)] == [p for p in alone if isinstance(p, int)]
    assert disguise.lifted(whole) == "|" + text


def test_spaces_are_not_disguised_so_that_templates_can_trim() -> None:
    pieces = ControlPieces({"< s >": 1})
    disguise = Disguise.avoiding(pieces, [])

    assert disguise.whole("  < s >  ").strip() != disguise.whole("  < s >  ")
    assert pieces.cut(disguise.whole("< s >")) == [disguise.whole("< s >")]


def test_private_characters_of_the_text_are_not_used_as_disguise() -> None:
    text = "".join(map(chr, range(0xF0000, 0xF0100))) + "<a>"
    disguise = Disguise.avoiding(CONTROL, [text])

    assert disguise.lifted(disguise.guarded(text)) == text
    assert disguise.spare not in text


def test_a_text_with_all_private_characters_is_refused() -> None:
    text = "".join(map(chr, range(0xF0000, 0x110000)))

    with pytest.raises(OutOfPrivateCharacters):
        Disguise.avoiding(CONTROL, [text])
