import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.text.sentencepiece_proto import Piece, PieceType, read_model, write_pieces
from model.text.tokenizer import DamagedTokenizer
from tests.model.text.conftest import FIXTURES

REAL = (FIXTURES / "gemma" / "tokenizer.model").read_bytes()

pieces = st.builds(
    Piece,
    st.text(min_size=1, max_size=200),
    st.floats(width=32, allow_nan=False),
    st.sampled_from(PieceType),
)


@given(st.lists(pieces, min_size=1, max_size=20))
def test_what_is_written_is_read_back(vocabulary: list[Piece]) -> None:
    assert read_model(write_pieces(vocabulary)).pieces == vocabulary


def test_a_model_of_the_library_keeps_everything_but_the_pieces_as_it_was() -> None:
    model = read_model(REAL)

    again = read_model(model.serialise())

    assert again == model
    assert len(model.pieces) == 470
    assert len(model.serialise()) == len(REAL) + 2 * sum(
        piece.type is PieceType.NORMAL for piece in model.pieces
    )  # the library leaves out the type of normal pieces, which is the default


@given(st.integers(0, len(REAL) - 1))
def test_a_truncated_model_is_damaged_or_a_shorter_one(size: int) -> None:
    try:
        model = read_model(REAL[:size])
    except DamagedTokenizer:
        return
    assert model.pieces == read_model(REAL).pieces[: len(model.pieces)]


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused_in_one_line(data: bytes) -> None:
    refusal = ""
    try:
        read_model(data)
    except DamagedTokenizer as error:
        refusal = str(error)

    assert "\n" not in refusal


def test_nothing_is_not_a_model() -> None:
    with pytest.raises(DamagedTokenizer, match="no vocabulary"):
        read_model(b"")
