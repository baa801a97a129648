"""What a record tells, on a terminal or as plain text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from routing.calibration.overview import ArmShare, Overview

if TYPE_CHECKING:
    from routing.calibration.study import Study

PLAIN_WIDTH = 100


class CalibrationView:
    """Bold and ruled on a terminal, plain lines and columns anywhere else."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out)
        if not self._console.is_terminal:
            self._console = Console(file=out, width=PLAIN_WIDTH, color_system=None)

    def overview(self, found: Overview) -> None:
        tau = "" if found.tau is None else f" (tau {found.tau:g})"
        fallback = found.questions - found.to_majority
        self.line(
            f"{found.questions} questions, {found.k} paths each; an answer needs "
            f"{found.min_votes} votes{tau}."
        )
        self.line(
            f"All {found.k} paths: {found.to_majority} questions go to the majority, {fallback} "
            "to the greedy answer."
        )
        self._table(
            ["plan", "paths", "tokens", "changed answers", "changed routes"],
            [
                [
                    name,
                    f"{plan.mean_paths:.2f}",
                    f"{plan.mean_tokens:,.1f}",
                    str(plan.changed_answers),
                    str(plan.changed_routes),
                ]
                for name, plan in found.plans.items()
            ],
        )
        if found.arms is None:
            self.line("No question has a known answer, so nothing is said about being right.")
            return
        self._arms(found.arms, found.judged)

    def _arms(self, arms: Sequence[ArmShare], judged: int) -> None:
        from routing.calibration.words import ARM_NAMES, between, percent

        self.line(f"Right, of {judged} questions:")
        self._table(
            ["arm", "right", "95 % interval", ""],
            [
                [arm.name, percent(arm.accuracy), between(arm.interval), ARM_NAMES[arm.name]]
                for arm in arms
            ],
            left=("arm", ""),
        )

    def findings(self, study: "Study") -> None:
        """What to use, why, and what can be promised."""
        from routing.calibration import words

        headline = escape(words.headline(study.comparison))
        self._console.print(f"[bold]{headline}[/bold]", highlight=False)
        certified = words.certified(study)
        lines = [*words.reasons(study), *words.promise(study), *([certified] if certified else [])]
        for text in lines:
            self.line(f"- {text}")

    def line(self, text: str) -> None:
        wrap = self._console.is_terminal
        self._console.print(text, markup=False, highlight=False, soft_wrap=not wrap)

    def _table(
        self, head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = ("plan",)
    ) -> None:
        ruled = box.SIMPLE_HEAD if self._console.is_terminal else None
        table = Table(box=ruled, pad_edge=False, padding=(0, 2, 0, 0))
        for name in head:
            table.add_column(name, justify="left" if name in left else "right", no_wrap=True)
        for row in rows:
            table.add_row(*map(escape, row))
        self._console.print()
        self._console.print(table)
        self._console.print()
