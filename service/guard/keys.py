"""API keys: what is kept of one, and how one that a request presents is found.

Keys are 256 random bits, so a plain SHA-256 is all that their storage needs: there is nothing to
guess that a slow hash would protect.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from service.guard.limits import Limits

PREFIX = "plx-"
MAX_KEYS = 1_000
"""Every one is compared with, for each request."""
MIN_KEY_BYTES = 16
MAX_KEY_BYTES = 512

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names go into logs and metrics."""


class BadKeys(ValueError):
    """One line about keys that cannot be used. It never shows one."""


@dataclass(frozen=True, slots=True)
class Key:
    """digest: SHA-256 of the key, 32 bytes."""

    name: str
    digest: bytes = field(repr=False)
    limits: Limits = field(default_factory=Limits)

    @property
    def identity(self) -> bytes:
        """16 bytes that stand for this key under this name, from which neither can be had."""
        named = self.name.encode() + b"\0" + self.digest
        return hashlib.blake2b(named, digest_size=16, person=b"pollux-identity").digest()


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


class KeyRing:
    """Raises BadKeys when two keys have one name or are the same, or when there are too many."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        if len(self.keys) > MAX_KEYS:
            raise BadKeys(f"there are {len(self.keys)} keys; at most {MAX_KEYS} may be")
        names: set[str] = set()
        owners: dict[bytes, str] = {}
        for key in self.keys:
            if key.name in names:
                raise BadKeys(f"two keys are named {key.name!r}")
            if key.digest in owners:
                raise BadKeys(f"{owners[key.digest]!r} and {key.name!r} have the same key")
            names.add(key.name)
            owners[key.digest] = key.name

    def find(self, presented: bytes) -> Key | None:
        """In the same time whichever it is: all digests are compared, each in constant time."""
        if len(presented) > MAX_KEY_BYTES:
            return None
        digest = digest_of(presented)
        found: Key | None = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found
