"""The vote on a terminal: bars that grow as paths finish. Plain lines anywhere else."""

import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

BAR = 32
MAX_ROWS = 8


class View(Protocol):
    """Shows the messages of /v1/stream; a context, so that a terminal is always left tidy."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def show(self, message: Mapping[str, Any]) -> None: ...

    def summary(self, response: Mapping[str, Any], seconds: float) -> None: ...


def view_for(request: Mapping[str, Any], out: TextIO) -> View:
    console = Console(file=out)
    policy = request.get("uncertainty_routing")
    if policy is None or not console.is_terminal:
        return LineView(out, stream=policy is None)
    return LiveView(console)


class LineView:
    """stream: text is written as it comes."""

    def __init__(self, out: TextIO, *, stream: bool) -> None:
        self._out = out
        self._stream = stream
        self._in_line = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._in_line:
            self._out.write("\n")
        self._out.flush()

    def show(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "delta" if self._stream:
                text = printable(message["text"])
                self._out.write(text)
                self._in_line = not text.endswith("\n") if text else self._in_line
            case "direct":
                self._out.write(f"direct answer: {spoken(message['answer'])}\n")
            case "vote":
                self._out.write(f"path {message['path']}: {voted(message)}\n")
        self._out.flush()

    def summary(self, response: Mapping[str, Any], seconds: float) -> None:
        self._in_line = False
        decision = response.get("uncertainty_routing")
        if decision is None:
            self._out.write(f"\n\n{cost(response, seconds)}\n")
            return
        text = answer_text(response)
        self._out.writelines(f"\n{told}\n" for told in path_texts(decision))
        self._out.write(f"\n{text}\n\n")
        self._out.writelines(f"{line}\n" for line in outcome(decision))
        self._out.write(f"{cost(response, seconds)}\n")


class LiveView:
    """Bars per answer while it runs, the answer and its cost at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._k: int | None = None  # the server's own, where none was asked for
        self._direct: str | None = None
        self._has_direct = False
        self._votes: Mapping[str, int] = {}
        self._run = 0
        self._invalid = 0
        self._live = Live(self._picture(), console=console, refresh_per_second=12)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, message: Mapping[str, Any]) -> None:
        match message["type"]:
            case "direct":
                self._has_direct, self._direct = True, message["answer"]
            case "vote":
                self._votes, self._run = message["votes"], message["run"]
                self._k = message["run"] + message["remaining"]
                self._invalid += message["answer"] is None
        self._live.update(self._picture())

    def summary(self, response: Mapping[str, Any], seconds: float) -> None:
        self._live.stop()
        decision = response["uncertainty_routing"]
        for told in path_texts(decision):
            self._console.print()
            self._console.print(told, style="dim", markup=False, highlight=False, soft_wrap=True)
        text = answer_text(response)
        self._console.print()
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        self._console.print()
        headline, *rest = outcome(decision)
        self._console.print(f"[bold]{escape(headline)}[/bold]", highlight=False, soft_wrap=True)
        for line in (*rest, cost(response, seconds)):
            self._console.print(f"[dim]{escape(line)}[/dim]", highlight=False, soft_wrap=True)

    def _picture(self) -> RenderableType:
        direct = f"direct answer: {spoken(self._direct)}" if self._has_direct else "asking ..."
        if self._k is None:
            return Text(direct)
        table = Table(box=None, show_header=False, pad_edge=False)
        for answer, count in list(self._votes.items())[:MAX_ROWS]:
            table.add_row(shortened(answer), bar(count, self._k), str(count))
        if self._invalid:
            table.add_row("(no answer)", bar(self._invalid, self._k), str(self._invalid))
        return Group(
            Text(direct), Text(f"{self._run} of {self._k} paths finished", style="dim"), table
        )


def printable(text: str) -> str:
    """Without what would command the terminal: a model may write escape sequences."""
    return _CONTROL.sub("\ufffd", text)


def answer_text(response: Mapping[str, Any]) -> str:
    """What is shown; a vote that abstains says so instead."""
    message = response["choices"][0]["message"]
    return printable(message.get("refusal") or message["content"]).strip()


def path_texts(decision: Mapping[str, Any]) -> list[str]:
    """Each finished path under a line that names it, if the response has them."""
    return [
        f"--- path {path['index']}: {spoken(path['answer'])}\n{printable(path['text']).strip()}"
        for path in decision.get("paths", ())
    ]


def bar(count: int, k: int) -> Text:
    filled = round(BAR * count / k)
    return Text("█" * filled + "░" * (BAR - filled), style="cyan")


def spoken(answer: str | None) -> str:
    return "(none)" if answer is None else shortened(answer)


def shortened(answer: str, width: int = 40) -> str:
    line = printable(" ".join(answer.split()))
    return line if len(line) <= width else line[: width - 1] + "…"


def voted(message: Mapping[str, Any]) -> str:
    votes = ", ".join(f"{shortened(a)}: {n}" for a, n in list(message["votes"].items())[:MAX_ROWS])
    said = message["answer"] if message["answer"] is not None else f"({message['status']})"
    return f"{shortened(said)}   [{votes or 'no votes'}; {message['remaining']} to go]"


def outcome(decision: Mapping[str, Any]) -> list[str]:
    """The answer, then how sure, as lines that fit 80 columns."""
    samples, share = decision["samples"], consensus(decision)
    return [
        f"Answer: {spoken(decision['answer'])}",
        f"{decision['route']}: {reason(decision)}",
        f"consensus {share}; paths: {samples['run']} run ({samples['invalid']} invalid), "
        f"{samples['stopped']} stopped, {samples['saved']} saved",
        *caveats(decision),
        *calibrated(decision),
    ]


def calibrated(decision: Mapping[str, Any]) -> list[str]:
    found = decision["calibration"]
    return [] if found is None else [f"calibration {found} speaks for this question"]


def consensus(decision: Mapping[str, Any]) -> str:
    low, high = decision["consensus"]
    return f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"


def reason(decision: Mapping[str, Any]) -> str:
    """Why this route."""
    limited_to = decision.get("limited_to")
    if "voting" in decision:
        enough = "enough of the weight"
    elif limited_to is not None:
        enough = f"enough of {limited_to} votes"
    else:
        enough = f"{decision['min_votes']} of {decision['k']} votes"
    polled = decision["k"] if limited_to is None else limited_to
    if polled == 0:
        given = "no answer is given" if decision["route"] == "abstain" else "the direct answer"
        return f"{given}: no path had finished"
    match decision["route"]:
        case "majority" if "voting" in decision:
            return "its paths have enough of the weight"
        case "majority":
            return f"agreed on by {consensus(decision)} of {polled} paths"
        case "greedy":
            return f"the direct answer: no other reached {enough}"
        case "abstain":
            return f"no answer is given: none reached {enough}"
        case "best_effort":
            return f"the most frequent answer, though short of {enough}"
        case "either" if decision.get("on_disagreement") == "best_effort":
            return "the most frequent answer, which no vote can change any more"
        case _:
            return "the direct answer, which no vote can change any more"


def caveats(decision: Mapping[str, Any]) -> list[str]:
    """What else one should know of it."""
    lines = []
    limit, limited_to = decision.get("limited_by"), decision.get("limited_to")
    if limit is not None:
        spent = "there was no more time" if limit == "deadline" else f"there were no more {limit}"
        if limited_to is None:
            lines.append(f"{spent} for the text of an earlier path")
        elif limit == "paths":
            lines.append(f"{spent}: {limited_to} of {decision['k']} decided")
        elif limited_to > 0:
            lines.append(f"{spent}: the {limited_to} finished paths decided")
        else:
            lines.append(spent)
    if "lossy" in decision:
        lines.append(f"likely, not certain: stopped at a risk of {decision['lossy']:.2%}")
    if "voting" in decision:
        parts = list(decision["weights"].items())[:2]
        told = ", ".join(f"{shortened(answer, 12)} {part:.0%}" for answer, part in parts)
        lines.append(f"weighed by {decision['voting']}: {told or 'nothing'}")
    return lines


def cost(response: Mapping[str, Any], seconds: float) -> str:
    usage = response["usage"]
    return (
        f"cost: {usage['completion_tokens']} tokens sampled, {usage['prompt_tokens']} read, "
        f"{seconds:.1f} s"
    )
