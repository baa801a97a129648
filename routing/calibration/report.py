"""The findings as one HTML page that needs nothing else: no script, no font, no network."""

from importlib import resources

import msgspec

from routing.calibration import figures, words
from routing.calibration.guarantee import rounded_up
from routing.calibration.markup import Markup, element, join, table
from routing.calibration.setup import Setup
from routing.calibration.study import Study
from routing.calibration.words import between, percent, points


def report(study: Study, setup: Setup | None, created: str) -> str:
    """created: a date, shown as it is."""
    title = "Calibration" + (f" of {setup.model}" if setup is not None else "")
    style = resources.files(__package__).joinpath("report.css").read_text(encoding="utf-8")
    page = element(
        "html",
        element(
            "head",
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            element("title", title),
            element("style", Markup(style)),
        ),
        element(
            "body",
            element("h1", title),
            element(
                "p",
                f"{study.questions} questions, {study.known} with a known answer, "
                f"{study.k_max} paths each. {created}",
                class_="sub",
            ),
            _verdict(study),
            _arms(study),
            _costs(study),
            _settings(study),
            _trust(study),
            _fallback(study),
            _guarantee(study),
            _plans(study),
            _setup(setup),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n"


def _section(title: str, *content: Markup) -> Markup:
    return element("section", element("h2", title), *content)


def _paragraph(text: str) -> Markup:
    return element("p", text)


def _pair(*drawings: Markup) -> Markup:
    return element("div", *drawings, class_="pair")


def _verdict(study: Study) -> Markup:
    return join(
        element("div", element("strong", words.headline(study.comparison)), class_="verdict"),
        element("ul", *(element("li", line) for line in words.reasons(study))),
    )


def _arms(study: Study) -> Markup:
    setting = study.setting
    rows: list[list[str | Markup]] = [
        [
            words.ARM_NAMES[arm.name],
            percent(arm.accuracy),
            between(arm.interval),
            f"{arm.paths:.1f}",
            f"{arm.tokens:,.0f}",
        ]
        for arm in study.comparison.arms
    ]
    return _section(
        "Arms",
        table(
            ["arm", "right", "95 % interval", "paths", "tokens"],
            rows,
            f"{study.reporting} questions; {words.setting_in_words(setting)}",
        ),
        element(
            "p",
            "Paths and tokens: means per question; majority and routed stop greedy-first, one path "
            "after the other; weighted votes need all paths. The greedy answer that routing also "
            "needs is counted in its own row only.",
            class_="note",
        ),
    )


def _costs(study: Study) -> Markup:
    return _section("Accuracy against cost", _pair(*figures.costs(study)))


def _settings(study: Study) -> Markup:
    sweep = study.sweep
    which = "questions that chose" if not study.given else "questions"
    return _section(
        "All settings",
        figures.settings(study),
        element(
            "p",
            f"Of the {sweep.questions} {which}, over all subsets of the {sweep.k_max} recorded "
            "paths: accuracy is exact, expected cost is estimated (one standard error: "
            f"{sweep.paths_error:.2g} paths, {sweep.tokens_error:.2g} tokens). m = 0: always the "
            "most frequent answer; m = k + 1: always the greedy one.",
            class_="note",
        ),
    )


def _trust(study: Study) -> Markup:
    found = study.reliability
    return _section(
        "Is the consensus a confidence?",
        _paragraph(
            f"Taken as the probability that the majority of {study.setting.k} paths is right, the "
            f"consensus has an expected calibration error of {percent(found.ece)} and a Brier "
            f"score of {found.brier:.3f}. The area under the risk-coverage curve is "
            f"{study.risk_coverage.area:.3f}. {percent(study.invalid_rate)} of the paths had no "
            "usable answer.",
        ),
        _pair(figures.reliability(study), figures.risk(study)),
    )


def _fallback(study: Study) -> Markup:
    found = study.fallback
    if found is None:
        return _section("Questions that fell back", _paragraph("There was none."))
    return _section(
        "Questions that fell back",
        _paragraph(
            "Routing pays only if the greedy answer beats the most frequent one where the votes "
            "are too few."
        ),
        table(
            ["questions", "greedy right", "majority right", "greedy minus majority"],
            [
                [
                    f"{found.questions} of {study.reporting}",
                    percent(found.greedy),
                    percent(found.majority),
                    points(found.difference),
                ]
            ],
        ),
    )


def _guarantee(study: Study) -> Markup:
    promise, *notes = words.promise(study)
    certified = words.certified(study)
    content = [element("blockquote", promise), *map(_paragraph, notes)]
    if certified is not None and study.certified is not None:
        bounds = [b for b in study.certified.bounds if b.routed]
        content += [
            _paragraph(certified),
            table(
                ["votes to win", "majority-routed", "wrong", "at most, fixed", "at most, chosen"],
                [
                    [
                        str(b.m),
                        str(b.routed),
                        str(b.errors),
                        f"{rounded_up(b.upper)} %",
                        f"{rounded_up(b.sequential)} %",
                    ]
                    for b in bounds
                ],
                "Upper bounds of the error rate: for a threshold fixed beforehand, and for one "
                "chosen by the sequence of tests down to it",
            ),
        ]
    return _section("Guarantee", *content)


def _plans(study: Study) -> Markup:
    rows: list[list[str | Markup]] = [
        [
            name,
            f"{plan.mean_paths:.1f}",
            f"{plan.mean_tokens:,.0f}",
            str(plan.changed_answers),
            str(plan.changed_routes),
        ]
        for name, plan in study.plans.items()
    ]
    return _section(
        "What each plan would have run",
        table(
            ["plan", "paths", "tokens", "changed answers", "changed routes"],
            rows,
            f"{study.questions} questions; {words.setting_in_words(study.setting)}; lossy at "
            f"epsilon {study.aims.epsilon:g}",
        ),
    )


def _setup(setup: Setup | None) -> Markup:
    if setup is None:
        return _section("Setup", _paragraph("Not recorded, so there is no calibration to load."))
    fields = msgspec.to_builtins(setup)
    rows = [
        element("tr", element("th", name, scope="row"), element("td", _shown(value)))
        for name, value in {**fields, "digest": setup.digest}.items()
    ]
    return _section(
        "Setup", element("div", element("table", *rows, class_="plain"), class_="scroll")
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
