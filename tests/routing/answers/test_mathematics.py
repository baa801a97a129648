"""Mathematics by value, and the process that finds it out."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from routing.answers import math_process
from routing.answers.math_process import MathProcess
from routing.answers.mathematics import MathExtractor
from routing.answers.specs import MathAnswer

MATH = MathExtractor()

EQUAL = {
    "0.5": [
        r"\frac{1}{2}", "0.5", "1/2", r"\frac12", r"\dfrac{2}{4}", "x = 1/2", "50/100",
    ],
    "1.5": [r"1\frac12", "3/2", r"\frac{3}{2}"],
    "2*sqrt(2)": [r"\sqrt{8}", r"2\sqrt2", "2*sqrt(2)", "2√2", r"\frac{4}{\sqrt{2}}"],
    "{1, 2, 3}": [r"\{1,2,3\}", r"\{3,2,1\}", "3, 1, 2", r"\left\{1, 2, \frac{6}{2}\right\}"],
    "{-3, 3}": [r"\pm 3", "3, -3"],
    "(1, 2)": ["(1,2)", r"\left(1, 2\right)", r"(\frac{2}{2},2)"],
    "(1, 2, 3)": ["(1,2,3)", r"(1, \frac{4}{2}, 3)"],
    "[1, 2)": ["[1,2)", "[1.0, 2)"],
    "(-oo, 3) U (4, oo)": [r"(-\infty,3)\cup(4,\infty)", r"(4,\infty)\cup(-\infty,3)"],
    "x**2 + 2*x + 1": ["x^2+2x+1", "(x+1)^2", "y = 1+2x+x^2"],
    "x + 1": [r"\frac{x^2-1}{x-1}", "1+x"],
    "x <= 5": [r"x\le 5", r"5\geq x", "x ≤ 5"],
    "2*pi*r": [r"2\pi r", "2πr", r"\pi\cdot 2r"],
    "{x = 1, y = 2}": ["x=1, y=2", "y=2, x=1"],
    "[[1, 2], [3, 4]]": [
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix} 1 & 2 \\ 3 & 4 \end{bmatrix}",
    ],
    "1024": ["2^{10}", "1024", "1,024"],
    "3": [r"\log_2 8", "3", "x=3", r"\sqrt{9}"],
    "1": [r"\sin^2 x+\cos^2 x"],
    "2*I": ["(1+i)^2", "2i"],
    "no solution": [r"\text{No solution}", "no solution."],
}  # fmt: skip


@pytest.mark.parametrize(
    ("canonical", "text"),
    [(canonical, text) for canonical, texts in EQUAL.items() for text in texts],
)
def test_equal_values_vote_together(canonical: str, text: str) -> None:
    written = rf"So it is \boxed{{{text}}}."
    found = MATH.extract(written)
    assert (found.status, found.canonical) == ("ok", canonical)
    assert found.span is not None
    assert written[slice(*found.span)] == found.raw


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("eat", "tea"),  # words are no products of letters
        ("2A", "2a"),
        ("(1,2)", "[1,2]"),
        ("(1,2)", "(2,1)"),
        ("x<5", r"x\le 5"),
        ("1<2", "2<3"),
        ("1/0", "2/0"),
        ("10 000", "0"),
        (r"0.33\ldots", "0.33"),
    ],
)
def test_different_values_stay_apart(one: str, other: str) -> None:
    assert MATH.canonical(one) != MATH.canonical(other)


@given(st.fractions(-1000, 1000, max_denominator=50), st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_a_fraction_votes_like_its_multiples_and_like_a_number(value, factor) -> None:  # type: ignore[no-untyped-def]
    top, bottom = value.numerator, value.denominator
    plain = MATH.canonical(f"{top}/{bottom}")
    assert MATH.canonical(rf"\frac{{{top * factor}}}{{{bottom * factor}}}") == plain
    assert MATH.canonical(f"{top} \\div {bottom}") == plain


def test_what_is_no_formula_is_compared_as_text() -> None:
    assert MATH.canonical(r"\frac{x}{") == r"\frac{x}{}"
    assert MATH.extract("Answer: Paris").canonical == "paris"


def test_a_formula_without_end_is_given_up_and_the_next_one_answered() -> None:
    with_little_time = MathProcess(cpu_seconds=0.5)
    try:
        assert with_little_time.canonical("x+x") == "2*x"
        first = with_little_time._process
        assert with_little_time.canonical("9^{9^{9}}") is None
        assert with_little_time.canonical("x+x+x") == "3*x"
        assert with_little_time._process is not first
    finally:
        with_little_time.close()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="limits are read from /proc")
def test_the_process_may_not_take_more_memory_than_it_is_given() -> None:
    process = MathProcess(memory=600 << 20)
    try:
        assert process.canonical("x+x") == "2*x"
        assert process._process is not None
        limits = Path(f"/proc/{process._process.pid}/limits").read_text()
        line = next(line for line in limits.splitlines() if line.startswith("Max address space"))
        assert line.split()[3:5] == [str(600 << 20)] * 2
    finally:
        process.close()


def test_a_process_that_was_killed_is_started_anew() -> None:
    process = MathProcess()
    try:
        assert process.canonical("y+y") == "2*y"
        assert process._process is not None
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        process.canonical("z")  # finds out
        assert process.canonical("y+y+y") == "3*y"
    finally:
        process.close()


def test_threads_share_the_process_without_mixing_answers() -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: MATH.canonical(f"x+{n}x"), range(1, 25)))
    assert answers == [f"{n + 1}*x" for n in range(1, 25)]


def test_without_a_process_text_is_compared(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(1)")
    monkeypatch.setattr(math_process, "PROGRAM", broken)
    assert MathExtractor(MathProcess()).extract("Answer: x + x").canonical == "x+x"


def test_without_the_package_the_request_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValidationError) as refused:
        MathAnswer()
    (error,) = refused.value.errors()
    assert error["msg"] == 'Value error, the kind "math" needs an extra: pip install "pollux[math]"'
