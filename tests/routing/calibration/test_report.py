"""The report: one page that needs nothing else, says what it found, and escapes all it shows."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from routing.calibration.markup import Markup, element, join
from routing.calibration.plots import Axis, Mark, around, chart
from routing.calibration.report import report
from routing.calibration.study import Aims, Study, study
from routing.records import RecordedPath, RecordedQuestion
from tests.routing.calibration.recorded import record
from tests.routing.calibration.test_artefact import SETUP
from tests.routing.calibration.test_choose import routing_helps

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Tags must nest; text, attributes and tags are kept."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def found() -> Study:
    return study(routing_helps(), Aims())


def test_it_is_well_formed_and_asks_for_nothing_from_anywhere(found: Study) -> None:
    page = report(found, SETUP, "2026-01-02")
    parsed = Page(page)
    assert page.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(parsed.tags)
    assert not {"src", "href", "srcset", "xlink:href"} & {name for name, _ in parsed.attributes}
    assert not [name for name, _ in parsed.attributes if name.startswith("on")]
    assert not re.search(r"https?:|@import|url\(|//[a-z]", page)


def test_it_has_every_part(found: Study) -> None:
    parsed = Page(report(found, SETUP, "2026-01-02"))
    for words in (
        "Use routing",
        "Arms",
        "Accuracy against cost",
        "All settings",
        "expected calibration error",
        "Brier score",
        "risk-coverage",
        "Questions that fell back",
        "Guarantee",
        "Under i.i.d. traffic",
        "Learn then Test",
        "What each plan would have run",
        "greedy_first",
        SETUP.digest,
    ):
        assert words in parsed.text, words
    assert parsed.tags.count("svg") == 5
    titles = parsed.tags.count("title")
    assert titles >= parsed.tags.count("circle") + parsed.tags.count("rect")


def test_tokens_have_no_chart_where_none_were_recorded_and_a_setup_no_table() -> None:
    asked = [
        msgspec.structs.replace(q, paths=tuple(RecordedPath(answer=p.answer) for p in q.paths))
        for q in record(60, 6)
    ]
    parsed = Page(report(study(asked, Aims()), None, "today"))
    assert parsed.tags.count("svg") == 4
    assert "Not recorded" in parsed.text


def test_what_it_shows_is_escaped(found: Study) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    setup = msgspec.structs.replace(SETUP, model=evil, answer={"type": evil})
    page = report(found, setup, evil)
    assert "<script" not in page
    assert "<img" not in page
    assert evil in Page(page).text


@pytest.mark.parametrize(
    "asked",
    [
        record(4, 1),
        [
            RecordedQuestion(id=n, answer="1", greedy=None, paths=(RecordedPath(answer=None),) * 2)
            for n in range(8)
        ],
        [
            RecordedQuestion(id=n, answer="1", greedy="1", paths=(RecordedPath(answer="1"),) * 2)
            for n in range(8)
        ],
        record(12, 64, greedy_right=1.0, path_right=(1, 1)),
    ],
    ids=["tiny", "all silent", "all right", "as many paths as there may be"],
)
def test_extreme_records_have_a_report(asked: list[RecordedQuestion]) -> None:
    page = report(study(asked, Aims(min_votes=1)), SETUP, "today")
    assert "nan" not in Page(page).text.lower()
    assert not re.search(r'="-?(nan|inf)"', page)


def test_text_is_escaped_once_and_markup_never() -> None:
    inner = element("b", 'a < "b" & c')
    assert inner == '<b>a &lt; "b" &amp; c</b>'
    assert element("p", inner, title='"x"', class_="y") == (
        f'<p title="&quot;x&quot;" class="y">{inner}</p>'
    )
    assert join("<", Markup("<br>")) == "&lt;<br>"


def test_a_chart_of_one_value_has_an_axis() -> None:
    axis = around([0.0], "none")
    assert axis.low < axis.high
    assert Axis("share", 0, 1, percent=True).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert "circle" in chart("title", axis, axis, [Mark(0, 0, "here")])
