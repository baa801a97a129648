"""What the documentation says is what the code does, where a machine can tell."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel, TypeAdapter

from routing import stopping
from routing.answers.auto import resolve
from routing.answers.registry import extractor_for
from routing.answers.specs import (
    AnswerField,
    AnswerSpec,
    AutoAnswer,
    BooleanAnswer,
    BoxedAnswer,
    ChoiceAnswer,
    ExactAnswer,
    JsonAnswer,
    LabelAnswer,
    MarkerAnswer,
    MathAnswer,
    NumberAnswer,
)
from routing.calibration.artefact import Artefact
from routing.calibration.guarantee import statement
from routing.calibration.replays import PLANS
from routing.calibration.words import ARM_NAMES
from routing.confidence import Weighting
from routing.decision import Decision, Reading, Samples
from routing.policy import DEFAULT_EPSILON, MAX_K, Budget, Plan, RoutingPolicy, exact_tau
from routing.records import RecordedPath, RecordedQuestion
from routing.stopping import OnDisagreement, Route
from scripts.make_settings_doc import TARGET, document
from service.api.gemini.schemas import GenerateRequest, GenerationConfig
from service.api.openai.sampling_fields import IGNORED, NEUTRAL
from service.api.openai.schemas import ChatRequest, CompletionRequest
from service.api.routed import decision_headers
from service.app import create_app
from service.errors import STATUS
from service.settings import Settings
from service.workers.redis import RedisBackend

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
API = (ROOT / "docs" / "api.md").read_text()
ROUTING = (ROOT / "docs" / "routing.md").read_text()
CALIBRATION = (ROOT / "docs" / "calibration.md").read_text()

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"(?m)^(#+) (.+)$")


def without_code(text: str) -> str:
    return re.sub(r"(?ms)^```.*?^```$", "", text)


def section(page: str, title: str) -> str:
    """The text below a heading, up to the next heading of its level or above."""
    headings = list(HEADING.finditer(page))
    index = next(i for i, heading in enumerate(headings) if heading[2] == title)
    level = len(headings[index][1])
    ends = (later.start() for later in headings[index + 1 :] if len(later[1]) <= level)
    return page[headings[index].end() : next(ends, len(page))]


def rows(text: str) -> list[list[str]]:
    """The cells of the section's first table, without its head."""
    table = re.search(r"(?m)(?:^\|.*\n)+", text)
    assert table is not None
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", without_code(cell))


# --- settings and links ------------------------------------------------------------------------


def test_the_table_of_settings_is_up_to_date() -> None:
    assert TARGET.read_text() == document(), "run python scripts/make_settings_doc.py"


def test_every_variable_named_is_a_setting_or_a_variable_of_the_deployment() -> None:
    known = {f"POLLUX_{name.upper()}" for name in Settings.model_fields}
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    known |= set(re.findall(r"POLLUX_[A-Z_]+", compose))
    for page in PAGES:
        named = set(re.findall(r"POLLUX_[A-Z]+(?:_[A-Z]+)*\b(?!_)", page.read_text()))
        assert named - known == set(), page.name


def anchors(page: Path) -> set[str]:
    """As GitHub makes them."""
    titles = [match[2] for match in HEADING.finditer(without_code(page.read_text()))]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def relative_links() -> list[tuple[Path, str]]:
    return [
        (page, target)
        for page in PAGES
        for target in LINK.findall(without_code(page.read_text()))
        if "://" not in target
    ]


@pytest.mark.parametrize(("page", "link"), relative_links(), ids=lambda value: Path(value).name)
def test_a_relative_link_leads_somewhere(page: Path, link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    assert target.is_relative_to(ROOT)
    assert target.exists()
    if anchor:
        assert anchor in anchors(target)


# --- docs/api.md -------------------------------------------------------------------------------


def test_the_metrics_documented_are_those_exported() -> None:
    url = "redis://localhost:1"
    app = create_app(Settings(redis=url), RedisBackend(url, "model"))
    exposition = app.state.gateway.metrics.exposition().decode()
    exported = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(exposition)
    }
    table = rows(section(API, "Metrics"))
    documented = {names(name)[0]: kind for name, kind, _ in table}
    assert len(documented) == len(table)
    assert documented == exported


def test_the_fields_of_a_policy_are_documented_with_their_defaults() -> None:
    table = {names(cells[0])[0]: cells for cells in rows(section(API, "The request"))}
    assert table.keys() == RoutingPolicy.model_fields.keys()
    policy = RoutingPolicy()
    for name, shown in [
        ("k", policy.k),
        ("tau", policy.share),
        ("answer", f'`"{policy.answer.type}"`'),
        ("plan", f'`"{policy.plan}"`'),
        ("epsilon", DEFAULT_EPSILON),
        ("on_disagreement", f'`"{policy.on_disagreement}"`'),
        ("include_paths", "false"),
        ("part_metadata", "false"),
        ("constrain", "false"),
        ("temperature", f"the request's, else {policy.temperature}"),
        ("top_p", f"the request's, else {policy.top_p}"),
    ]:
        assert table[name][2] == str(shown)
    assert names(table["budget"][1]) == list(Budget.model_fields)
    assert table["budget"][3].startswith(f"1 to {MAX_K}; ")
    for words in (get_args(Plan), get_args(OnDisagreement), get_args(Weighting)):
        listed = {name.strip('"') for cells in table.values() for name in names(cells[1])}
        assert set(words) <= listed
    default = Settings.model_fields["routed_path_tokens"].default
    assert f"else {default} " in table["max_tokens"][2]


def decision() -> Decision:
    """With everything that a decision can say."""
    reading = Reading(index=0, answer="4", status="ok", text="4", tokens=1, finish="stop")
    return Decision(
        route="greedy",
        answer="4",
        consensus=(0.5, 0.5),
        votes={"4": 1},
        k=2,
        tau=0.5,
        min_votes=2,
        samples=Samples(run=2, stopped=0, saved=0, invalid=1),
        plan="full",
        on_disagreement="best_effort",
        voting="mean_logprob",
        limited_by="paths",
        limited_to=1,
        lossy=0.01,
        weights={"4": 1.0},
        readings=(reading,),
        direct=reading,
    )


def test_the_fields_of_a_decision_are_documented() -> None:
    text = section(API, "The response")
    rest = text.split("These are there only when they say something:")[1]
    always = [name for cells in rows(text) for name in names(cells[0])]
    sometimes = [name for cells in rows(rest) for name in names(cells[0])]
    plain = replace(
        decision(),
        plan="greedy_first",
        on_disagreement="greedy",
        voting="count",
        limited_to=None,
        lossy=None,
        weights=None,
        readings=None,
    )
    assert sorted(always) == sorted(plain.to_response())
    assert sorted(always + sometimes) == sorted(decision().to_response())


def test_every_route_is_documented() -> None:
    (route,) = [cells for cells in rows(section(API, "The response")) if cells[0] == "`route`"]
    assert set(names(route[1])) >= set(get_args(Route))


def test_every_plan_is_documented() -> None:
    listed = [names(cells[0])[0] for cells in rows(section(ROUTING, "Plans"))]
    assert listed == list(get_args(Plan))


def test_the_headers_of_a_decision_are_documented() -> None:
    listed = set(re.findall(r"`(x-pollux-[a-z-]+)`", section(API, "Headers")))
    assert listed == decision_headers(decision()).keys()


def test_every_status_that_an_error_may_have_is_documented() -> None:
    listed = {int(cells[0]) for cells in rows(section(API, "Errors"))}
    assert listed == set(STATUS.values())


@pytest.mark.parametrize(
    ("title", "fields"),
    [
        ("OpenAI", {*IGNORED, *NEUTRAL}),
        ("Gemini", {*GenerateRequest.neutral, *GenerationConfig.neutral}),
    ],
)
def test_what_is_ignored_or_refused_is_documented_by_name(title: str, fields: set[str]) -> None:
    listed = set(names(section(API, title)))
    assert fields - listed == set()


@pytest.mark.parametrize(
    ("title", "models"),
    [("OpenAI", (ChatRequest, CompletionRequest)), ("Gemini", (GenerateRequest, GenerationConfig))],
)
def test_every_parameter_is_documented_by_name(title: str, models: tuple[type[BaseModel]]) -> None:
    """Routing has a section of its own."""
    fields = {field.alias or name for model in models for name, field in model.model_fields.items()}
    fields -= {"uncertainty_routing", "uncertaintyRouting"}
    listed = {part for name in names(section(API, title)) for part in name.split(".")}
    assert fields - listed == set()


# --- docs/routing.md ---------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[AnswerSpec, str]] = {
    "number": (NumberAnswer(), ""),
    "choice": (ChoiceAnswer(), "Capital of France? A) Rome B) Paris C) Oslo"),
    "exact": (ExactAnswer(), ""),
    "marker": (MarkerAnswer(pattern=r"RESULT=(\w+)"), ""),
    "boolean": (BooleanAnswer(), ""),
    "label": (
        LabelAnswer(labels={"positive": ("good",), "very positive": (), "negative": ()}),
        "",
    ),
    "boxed": (BoxedAnswer(), ""),
    "math": (MathAnswer(), ""),
    "json": (JsonAnswer(pointer="/answer"), ""),
}


@pytest.mark.parametrize(
    ("kind", "text", "vote"),
    [
        (kind, names(text)[0], vote)
        for kind in EXAMPLES
        for text, vote in rows(section(ROUTING, kind))
    ],
)
def test_an_extractors_example_is_what_it_does(kind: str, text: str, vote: str) -> None:
    spec, question = EXAMPLES[kind]
    found = extractor_for(spec, question).extract(text)
    shown = f"`{found.canonical}`" if found.status == "ok" else found.status
    assert shown == vote


@pytest.mark.parametrize(("question", "kind"), rows(section(ROUTING, "auto")))
def test_an_example_of_auto_is_what_it_does(question: str, kind: str) -> None:
    resolved = resolve(AutoAnswer(), names(question)[0], mathematics=True)
    assert f"`{resolved.type}`" == kind


def test_every_kind_of_answer_is_documented_with_its_options() -> None:
    schema = TypeAdapter(AnswerField).json_schema()
    options = {
        kind: set(definition["properties"]) - {"type"}
        for definition in schema["$defs"].values()
        for kind in _kinds(definition["properties"]["type"])
    }
    documented = {
        kind: set(names(cells[2]))
        for cells in rows(section(ROUTING, "Extractors"))
        for kind in names(cells[0])
    }
    assert documented == options
    listed = next(cells[1] for cells in rows(section(API, "The request")) if "answer" in cells[0])
    assert {kind for kind in options if f'"{kind}"' in listed} == options.keys()


def _kinds(field: dict[str, Any]) -> list[str]:
    return [field["const"]] if "const" in field else field["enum"]


def test_the_table_of_votes_needed_is_right() -> None:
    taus = [exact_tau(text) for text in ("0.5", "0.6", "0.7", "0.8")]
    table = [[int(cell) for cell in cells] for cells in rows(section(ROUTING, "The rule"))]
    assert len(table) == 3
    for k, *needed in table:
        assert needed == [stopping.min_votes(k, tau) for tau in taus]


# --- docs/calibration.md -----------------------------------------------------------------------


def first_names(text: str) -> list[str]:
    return [name for cells in rows(text) for name in names(cells[0])]


def test_the_plans_and_arms_of_a_calibration_are_documented() -> None:
    assert first_names(section(CALIBRATION, "Plans")) == list(PLANS)
    assert first_names(section(CALIBRATION, "Arms")) == list(ARM_NAMES)


def test_the_fields_of_a_record_are_documented() -> None:
    whole, path = section(CALIBRATION, "What is recorded").split("A path:")
    assert sorted(first_names(whole)) == sorted(RecordedQuestion.__struct_fields__)
    assert sorted(first_names(path)) == sorted(RecordedPath.__struct_fields__)


def test_the_fields_of_the_artefact_are_documented() -> None:
    listed = first_names(section(CALIBRATION, "calibration.json"))
    assert sorted(listed) == sorted(Artefact.__struct_fields__)


def test_the_guarantee_has_the_words_that_are_documented() -> None:
    quoted = " ".join(section(CALIBRATION, "The guarantee").replace(">", "").split())
    words = statement(0.05, 0.05).replace("95 %", "1 - delta").replace("5.0 %", "alpha")
    assert words in quoted
