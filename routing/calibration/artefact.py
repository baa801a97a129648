"""calibration.json: what was chosen, for which setup, and what was promised.

A server reads it at start and refuses it when it runs another setup than was calibrated. What
writes it is `routing.calibration.adopted`; here is nothing that a server does not need.
"""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from routing.calibration.setup import Setup
from routing.policy import MAX_K, exact_tau
from routing.stopping import min_votes

Arm = Literal["greedy", "majority", "routed"]

VERSION = 1
MAX_BYTES = 1 << 20

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Guarantee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With `confidence`, at most alpha of the answers that min_votes of k paths gave are wrong.

    routed, errors: what it was worked out from.
    """

    alpha: _Share
    confidence: _Share
    min_votes: _Count
    routed: _Count
    errors: _Count
    statement: str


class Artefact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """min_votes: k + 1 when the greedy answer alone is recommended. tau: the same, as a share.

    consensus, consensus_k_max: how many recorded questions had 0, 1, ... votes for their most
    frequent answer, of k and of k_max paths; live traffic that differs has drifted. invalid_rate:
    share of paths without a vote. questions: recorded. reported: those that the guarantee and the
    comparison are from.
    """

    version: int
    id: str
    created: str
    setup: Setup
    arm: Arm
    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)]
    min_votes: Annotated[int, msgspec.Meta(ge=1, le=MAX_K + 1)]
    tau: str
    guarantee: Guarantee | None
    k_max: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)]
    consensus: list[_Count]
    consensus_k_max: list[_Count]
    invalid_rate: _Share
    questions: Annotated[int, msgspec.Meta(ge=1)]
    reported: _Count


class BadArtefact(ValueError):
    """A file that is no calibration of this version. The message is one line."""


class _Versioned(msgspec.Struct):
    version: int


def named(unnamed: Artefact) -> Artefact:
    """With its id."""
    return msgspec.structs.replace(unnamed, id=_id(unnamed))


def _id(artefact: Artefact) -> str:
    """Twelve hex digits of a hash over everything else: what it says is what it is called."""
    content = msgspec.json.encode(msgspec.structs.replace(artefact, id=""), order="deterministic")
    return hashlib.sha256(content).hexdigest()[:12]


def encode(artefact: Artefact) -> bytes:
    return msgspec.json.format(msgspec.json.encode(artefact), indent=2) + b"\n"


def load(path: str | os.PathLike[str]) -> Artefact:
    """Raises BadArtefact for what cannot be read, is too large, of another version, or edited."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadArtefact(f"{path}: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise BadArtefact(f"{path}: larger than {MAX_BYTES} bytes, so no calibration")
    try:
        version = msgspec.json.decode(content, type=_Versioned).version
        if version != VERSION:
            raise BadArtefact(f"{path}: calibration of version {version}; known is {VERSION}")
        found = msgspec.json.decode(content, type=Artefact)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadArtefact(f"{path}: no calibration: {error}") from None
    _check(found, path)
    return found


def _check(found: Artefact, path: str | os.PathLike[str]) -> None:
    if found.id != _id(found):
        raise BadArtefact(f"{path}: its content does not match its id {found.id[:12]!r}")
    try:
        consistent = min_votes(found.k, exact_tau(found.tau)) == found.min_votes
    except ValueError:
        consistent = False
    lengths = (len(found.consensus), len(found.consensus_k_max))
    if not consistent or lengths != (found.k + 1, found.k_max + 1):
        raise BadArtefact(f"{path}: k, min_votes, tau and the histograms do not fit together")


def refusals(artefact: Artefact, setup: Setup) -> list[str]:
    """Why it says nothing about this setup, a line per difference; empty when it fits."""
    return setup.differences(artefact.setup)
