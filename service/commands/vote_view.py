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
    return LiveView(console, int(policy["k"]))


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
        self._out.write(f"\n{text}\n\n")
        self._out.writelines(f"{line}\n" for line in outcome(decision))
        self._out.write(f"{cost(response, seconds)}\n")


class LiveView:
    """Bars per answer while it runs, the answer and its cost at the end."""

    def __init__(self, console: Console, k: int) -> None:
        self._console = console
        self._k = k
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
                self._invalid += message["answer"] is None
        self._live.update(self._picture())

    def summary(self, response: Mapping[str, Any], seconds: float) -> None:
        self._live.stop()
        decision = response["uncertainty_routing"]
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
    return printable(response["choices"][0]["message"]["content"]).strip()


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
    low, high = decision["consensus"]
    share = f"{low:.0%}" if low == high else f"{low:.0%} to {high:.0%}"
    why = {
        "majority": f"agreed on by {share} of {decision['k']} paths",
        "greedy": f"the direct answer: no other reached {decision['min_votes']} of "
        f"{decision['k']} votes",
        "either": "the direct answer, which no vote can change any more",
    }[decision["route"]]
    samples = decision["samples"]
    return [
        f"Answer: {spoken(decision['answer'])}",
        f"{decision['route']}: {why}",
        f"consensus {share}; paths: {samples['run']} run ({samples['invalid']} invalid), "
        f"{samples['stopped']} stopped, {samples['saved']} saved",
    ]


def cost(response: Mapping[str, Any], seconds: float) -> str:
    usage = response["usage"]
    return (
        f"cost: {usage['completion_tokens']} tokens sampled, {usage['prompt_tokens']} read, "
        f"{seconds:.1f} s"
    )
