"""Reasoning and answer told apart, however the text is cut."""

from hypothesis import given
from hypothesis import strategies as st

from model.text.thinking import Marks, Thought, ThoughtCounter, ThoughtSplitter, marks_of, split
from tests.service.support import tiny_text

MARKS = Marks("<think>", "</think>")
CALL = "<tool_call>"

PIECES = st.sampled_from(
    [
        "<think>",
        "</think>",
        "<",
        "<th",
        "</",
        "think>",
        "a",
        "bc ",
        " ",
        "\n",
        "\n\n",
        CALL,
        "<tool",
    ]
)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(PIECES, max_size=12).map(lambda pieces: "<think>" + "".join(pieces)),
    st.integers(250, 600).map(lambda count: "<think>a" + " " * count + "b" + "\n" * count),
)


def read(chunks: list[str], opened: bool, enders: tuple[str, ...] = ()) -> tuple[str, str]:
    splitter = ThoughtSplitter(MARKS, opened=opened, enders=enders)
    pieces = [piece for chunk in chunks for piece in splitter.push(chunk)] + splitter.finish()
    assert all(piece.text if isinstance(piece, Thought) else piece for piece in pieces)
    thoughts = [isinstance(piece, Thought) for piece in pieces]
    assert thoughts == sorted(thoughts, reverse=True), "reasoning comes first"
    return (
        "".join(piece.text for piece in pieces if isinstance(piece, Thought)),
        "".join(piece for piece in pieces if isinstance(piece, str)),
    )


@given(TEXTS, st.booleans(), st.booleans(), st.data())
def test_any_chunking_gives_the_same_split(
    text: str, opened: bool, called: bool, data: st.DataObject
) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8).map(sorted))
    chunks = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    enders = (CALL,) if called else ()
    whole = read([text], opened, enders)
    assert read(chunks, opened, enders) == whole
    assert read(list(text), opened, enders) == whole


@given(TEXTS, st.booleans())
def test_no_piece_of_reasoning_has_a_closing_mark(text: str, opened: bool) -> None:
    reasoning, answer = read(list(text), opened)
    assert MARKS.closing not in reasoning
    if not opened and not text.lstrip().startswith(MARKS.opening):
        assert (reasoning, answer) == ("", text)


def test_the_block_is_taken_off_with_the_space_around_it() -> None:
    assert split("<think>\nso 4\n</think>\n\nAnswer: 4\n", MARKS, opened=False) == (
        "so 4",
        "Answer: 4\n",
    )
    assert split("so 4\n</think>\n\n4", MARKS, opened=True) == ("so 4", "4")
    assert split("\n<think>so 4</think>4", MARKS, opened=True) == ("so 4", "4")


def test_what_is_not_closed_is_all_reasoning() -> None:
    assert split("<think>\nso 4 </thi", MARKS, opened=False) == ("so 4 </thi", "")
    assert split("so", MARKS, opened=True) == ("so", "")


def test_a_block_that_does_not_begin_the_answer_is_text() -> None:
    text = "I <think>x</think> so"
    assert split(text, MARKS, opened=False) == ("", text)
    assert split("<think>a</think>b<think>c</think>", MARKS, opened=False) == (
        "a",
        "b<think>c</think>",
    )
    assert split("<thi", MARKS, opened=False) == ("", "<thi")


def test_a_call_ends_the_reasoning_and_belongs_to_the_answer() -> None:
    assert read([f"hm {CALL}x"], True, (CALL,)) == ("hm", f"{CALL}x")
    assert read([f"hm {CALL}x"], True) == (f"hm {CALL}x", "")


def count(text: str, control: dict[str, int], *, opened: bool = False) -> int:
    model = tiny_text(control=control)
    counter = ThoughtCounter(model.tokenizer, MARKS, opened=opened)
    for token in model.encode_marks(text):
        counter.push((token,))
    return counter.count


SPECIAL = {"<think>": 307, "</think>": 308}


def test_tokens_are_counted_with_their_marks() -> None:
    assert count("<think>ab</think>cd", SPECIAL) == 4
    assert count("<think>ab</think>cd", {}) == 7 + 2 + 8
    assert count("ab</think>cd", SPECIAL, opened=True) == 3
    assert count("<think>äb", SPECIAL) == 1 + 3
    assert count("abcd", SPECIAL) == 0
    assert count("", SPECIAL, opened=True) == 0


def test_marks_are_told_by_the_template_or_else_by_the_vocabulary() -> None:
    plain, special = tiny_text(), tiny_text(control=SPECIAL)
    assert marks_of("{{ '<think>' }}", plain.tokenizer, {}) == MARKS
    assert marks_of("x.split('</think>')", plain.tokenizer, {}) == MARKS
    assert marks_of("[THINK]", plain.tokenizer, {}) == Marks("[THINK]", "[/THINK]")
    assert plain.thinking is None
    assert special.thinking == Marks("<think>", "</think>", shown=False)
    assert tiny_text(template=None, control=SPECIAL).thinking is None


def test_a_prompt_that_ends_with_a_mark_is_seen_and_a_callers_is_not() -> None:
    for control in ({}, SPECIAL):
        model = tiny_text(template="<think> is known", control=control)
        end = (302,)
        assert model.ends_with_mark((*model.encode_marks("<think>\n"),)) == "opening"
        assert model.ends_with_mark((*model.encode_marks("<think>\n\n</think>\n\n"),)) == "closing"
        assert model.ends_with_mark((*model.tokenizer.encode("x<think>"), *end)) is None
        assert model.ends_with_mark(end) is None
