"""Tokens that say where they belong, and what a stream of them lacks.

Token i of a path reads `<tag>.<path>.<i> `: the tag is the request's own.
"""

from collections.abc import Iterator

STEP_CHARS = 9
"""What such a token has, about: peers that cut a text into pieces cut it there."""


class BadStream(Exception):
    """A stream that is not what was sent. One line."""


def token(tag: int, path: int, place: int) -> str:
    return f"{tag}.{path}.{place} "


def text_of(tag: int, path: int, count: int) -> str:
    return "".join(token(tag, path, place) for place in range(count))


def check(text: str, tag: int, path: int, count: int) -> None:
    """Raises BadStream with the first token that is lost, repeated, moved or strange."""
    if text == text_of(tag, path, count):
        return
    expected = 0
    for found in _places(text, tag, path):
        if found != expected:
            what = "repeated or late" if found < expected else "early"
            raise BadStream(f"token {found} of stream {tag}.{path} is {what}: {expected} was due")
        expected += 1
    raise BadStream(f"stream {tag}.{path} has {expected} of {count} tokens")


def _places(text: str, tag: int, path: int) -> Iterator[int]:
    for piece in text.split(" ")[:-1]:
        start, _, place = piece.rpartition(".")
        if start != f"{tag}.{path}" or not place.isdecimal():
            raise BadStream(f"{piece[:40]!r} came in stream {tag}.{path}")
        yield int(place)
