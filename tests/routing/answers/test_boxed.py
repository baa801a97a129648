r"""The inside of \boxed{...}, and LaTeX under one spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.answers.boxed import BoxedExtractor
from routing.answers.latex import normal_form

EXTRACT = BoxedExtractor().extract

SPELLINGS = [
    ("0.75", [r"\frac{3}{4}", r"\dfrac 34", r"\tfrac{3}4", "3/4", "0.75", r"\frac{3}{4", ".75"]),
    ("1.5", [r"1\frac12", r"1\frac{1}{2}", "3/2", "1.50"]),
    ("-0.5", [r"-\frac{1}{2}", "−1/2", r"\frac{-1}{2}", "–0.5"]),
    ("1234", [r"\$1{,}234.00", "1,234", r"1\,234", "1234", "١٢٣٤", "１２３４"]),
    ("3", ["x = 3", "3.", "3", r"\boxed{3}", "$3$", r"\(3\)", "f(x)=3", "3\\%", "3%"]),
    (
        "45",
        [
            r"45^\circ",
            r"45^{\circ}",
            "45°",
            r"45\text{ degrees}",
            r"\text{45 km}",
            "45 km",
            r"45\,\mathrm{km}^2",
        ],
    ),
    ("100000", ["10^5", "10^{5}", "100,000", "1e5"]),
    ("(1,2)", [r"\left( 1, 2 \right)", "(1,2)", r"\big(1,\,2\big)"]),
    ("x^2", ["x^{2}", "x^2", "$x^{2}$", "{x}^2"]),
    ("x^{10}", ["x^{10}", "x ^ {10}", "x^{ 10 }"]),
    (r"\sqrt{2}", [r"\sqrt2", r"\sqrt{2}", "√2", "sqrt(2)", r"\sqrt 2"]),
    (r"2\pi r", [r"2 \pi r", "2πr", "2pi r"]),
    (r"x\leq5", [r"x \le 5", r"x\leqslant 5", "x ≤ 5"]),
    ("no solution", [r"\text{No solution}", "no  solution.", "No solution"]),
    ("1500000", [r"1.5\text{ million}", "1.5 million"]),
    ("1,2", ["1, 2", r"1,\,2"]),
    ("2^5", ["2^5", "2^{5}"]),
    ("2 3", ["2 3"]),
    ("", ["", r"\,", "$$", "}}{{", r"\left.\right."]),
]


@pytest.mark.parametrize(
    ("normal", "text"), [(normal, text) for normal, texts in SPELLINGS for text in texts]
)
def test_one_spelling_for_what_differs_in_looks(normal: str, text: str) -> None:
    assert normal_form(text) == normal
    assert normal_form(normal) == normal


@pytest.mark.parametrize(
    ("one", "other"), [("x", "X"), ("12", "1 2"), (r"\pi r", "pir"), ("ab", "a-b")]
)
def test_what_differs_in_more_stays_apart(one: str, other: str) -> None:
    assert normal_form(one) != normal_form(other)


@given(st.text(st.sampled_from("x2{}^_\\ fracsqt[](),.$+-"), max_size=40))
def test_a_normal_form_of_any_rubble_has_matching_braces(text: str) -> None:
    normal = normal_form(text).replace(r"\{", "").replace(r"\}", "")
    depth = 0
    for char in normal:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0


GOOD = [
    (r"So \boxed{\frac{3}{4}} it is.", "0.75", "boxed"),
    (r"\boxed{1} or rather \boxed{2}", "2", "boxed"),
    (r"\boxed{\boxed{3}}", "3", "boxed"),
    (r"Answer: $\boxed{x^{2}}$", "x^2", "boxed"),
    (r"\fbox{7}", "7", "boxed"),
    (r"We get \boxed{4}, which is boxed.", "4", "boxed"),
    (r"\boxed{\left\{ 1, 2 \right\}}", r"\{1,2\}", "boxed"),
    ("\\boxed{\n 5 \n}", "5", "boxed"),
    (r"\boxed{} Answer: 5", "5", "phrase"),
    ("Answer: x^2 + 1.", "x^2+1", "contract"),
    (r"Answer: **\(x^2\)**.", "x^2", "contract"),
    (r"The answer is $\frac{1}{3}$, or a third.", "1/3", "phrase"),
    ("Answer: 5 because 2+3 is 5", "5", "contract"),
    ("Answer: 3.5 kg", "3.5", "contract"),
    ("Answer: $1,234.00", "1234", "contract"),
    ("Answer: 42!", "42", "contract"),
    ("#### 18", "18", "hashes"),
    (r"\frac{1}{2}", "0.5", "bare"),
    ("答案：\\boxed{７}", "7", "boxed"),
    ("\\boxed{1}\n\nQuestion: and?\n\\boxed{2}", "1", "boxed"),
    ("<think>\\boxed{1}</think>\\boxed{2}", "2", "boxed"),
]


@pytest.mark.parametrize(("text", "canonical", "method"), GOOD)
def test_reads(text: str, canonical: str, method: str) -> None:
    found = EXTRACT(text)
    assert (found.status, found.canonical, found.method) == ("ok", canonical, method)
    assert found.span is not None
    assert text[slice(*found.span)] == found.raw


@pytest.mark.parametrize(
    ("text", "truncated", "status"),
    [
        ("", False, "invalid"),
        (r"\boxed{}", False, "invalid"),
        ("Answer: ...", False, "invalid"),
        ("one\ntwo", False, "invalid"),
        (r"<think>\boxed{1}", False, "invalid"),
        (r"so \boxed{4", True, "truncated"),
        (r"so \boxed{4} is", True, "ok"),
        ("Answer: 4", True, "truncated"),
        ("Answer: 4\n", True, "ok"),
    ],
)
def test_refuses(text: str, truncated: bool, status: str) -> None:
    assert EXTRACT(text, truncated=truncated).status == status


@given(st.fractions(-(10**9), 10**9, max_denominator=10**4))
def test_spellings_of_a_fraction_vote_together(value) -> None:  # type: ignore[no-untyped-def]
    top, bottom = value.numerator, value.denominator
    forms = [
        f"{top}/{bottom}",
        rf"\frac{{{top}}}{{{bottom}}}",
        rf"\dfrac{{{2 * top}}}{{{2 * bottom}}}",
    ]
    assert len({EXTRACT(rf"\boxed{{{form}}}").vote for form in forms}) == 1


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("The equation x=1 is a classic example of an identity that can be solved", "invalid"),
        ("Answer: all of them are equal to each other", "invalid"),
        (r"\boxed{all real numbers except zero itself}", "ok"),
        ("Answer: x = 1", "ok"),
        ("Answer: all real numbers", "ok"),
    ],
)
def test_a_sentence_is_no_formula(text: str, status: str) -> None:
    assert BoxedExtractor().extract(text).status == status
