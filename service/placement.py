"""Where groups run and with whom they share KV pages. No protocol knows more than its words."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from model.contract import Group, GroupStream, Worker, WorkerStatus

MAX_SALT_CHARS = 256


@dataclass(frozen=True, slots=True)
class Placement:
    """scope: only groups of one scope share pages; empty is that of the whole server. near: id of
    a hold on whose worker the groups run best."""

    scope: str = ""
    near: str = ""


ANYWHERE = Placement()


def scope_of(identity: bytes | None, salt: str) -> str:
    """One scope for each pair. identity: of the key, where each key has its own scope."""
    if identity is None and not salt:
        return ""
    # The first part has one of two lengths, so no two pairs read the same.
    named = b"shared" if identity is None else b"key" + hashlib.sha256(identity).digest()
    digest = hashlib.blake2b(named + salt.encode("utf-8", "surrogatepass"), digest_size=16)
    return digest.hexdigest()


class PlacedWorker:
    """Any worker; what is opened gets its placement.

    group_of: the group in which a hold is now, "" when it is in none.
    """

    def __init__(
        self, worker: Worker, placement: Placement, group_of: Callable[[str], str]
    ) -> None:
        self._worker = worker
        self._placement = placement
        self._group_of = group_of

    def open(self, group: Group) -> GroupStream:
        near = self._placement.near
        return self._worker.open(
            replace(group, scope=self._placement.scope, near=self._group_of(near) if near else "")
        )

    def status(self) -> WorkerStatus:
        return self._worker.status()
