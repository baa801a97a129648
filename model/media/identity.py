"""A name for what a model saw, for caches: never equal where the arrays could differ.

CVE-2025-46722 was a hash of raw pixels alone, under which images of different shapes met.
"""

from hashlib import blake2b

import msgspec

from model.media.records import Decoded, Job
from model.media.wire import answered

VERSION = b"1"
"""Changes when the same bytes and job come to give other arrays."""


def content_hash(data: bytes, job: Job, result: Decoded) -> str:
    """Of the original bytes, what was asked, and the dimensions of what came out."""
    head, _ = answered(result)
    digest = blake2b(digest_size=32, person=b"pollux-media")
    for part in (VERSION, msgspec.msgpack.encode(job), head, data):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
