"""Paths with constraints wait until their grammars are compiled; a group with one that is none
fails before any of its paths starts."""

import logging
from collections.abc import Sequence
from concurrent.futures import Future

from model.contract import FailureCode, InvalidParameter, PathRequest
from model.engine.constraints import AnyGrammar, Constraints
from model.engine.guide import Guide
from model.engine.sequences import Compiled, GroupState, Path, Stage

log = logging.getLogger("pollux.engine")


class CannotGuide(Exception):
    """A path's constraint does not work. One line; code: as of GroupFailed."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.code: FailureCode = code


def begun(
    constraints: Constraints, requests: Sequence[PathRequest], known: Compiled
) -> dict[int, Future[AnyGrammar]]:
    """The grammars of these paths, by index, begun to be compiled where the group does not have
    them. Raises TooManyGrammars."""
    grammars = {}
    for request in requests:
        constraint = request.sampling.constraint
        if constraint is None:
            continue
        if constraint.grammar not in known:
            known[constraint.grammar] = constraints.compile(constraint)
        grammars[request.index] = known[constraint.grammar]
    return grammars


def guide_paths(state: GroupState) -> list[Path]:
    """All grammars of the group are compiled: its paths may start, but for those returned, which
    are complete already. Raises CannotGuide."""
    grammars, state.grammars = state.grammars, {}
    complete = []
    for index, grammar in grammars.items():
        path = state.paths[index]
        if path.stage is Stage.FINISHED:
            continue
        try:
            path.guide = Guide(path.request.sampling, grammar.result(), path.request.generated)
        except InvalidParameter as error:
            raise CannotGuide("invalid", str(error)) from None
        except Exception:
            log.exception("a grammar could not be compiled")
            raise CannotGuide("internal", "the grammar could not be compiled") from None
        if path.guide.complete:
            complete.append(path)
    return complete
