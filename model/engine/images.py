"""Where images stand in a sequence, and what follows for chunks and pages. No jax.

Tokens of an image see each other, later ones too. So an image is read in one piece: no chunk ends
inside one, and no prefix that is found in the cache does. What pages hold of an image depends on
its pixels: its hash is part of their keys.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from model.contract import Group, InvalidParameter, MediaSegment, Prompt
from model.engine.pages import PagedMemory
from model.spec import VisionSpec


@dataclass(frozen=True, eq=False)
class Image:
    """Positions [start, end) of a sequence. key: names its content within a scope."""

    start: int
    end: int
    key: bytes
    segment: MediaSegment


Images = tuple[Image, ...]
"""Of one sequence, in order."""


def images_of(prompt: Prompt, scope: bytes) -> Images:
    """scope: what no other scope shares begins with it, soft tokens too."""
    images: list[Image] = []
    at = 0
    for segment in prompt.segments:
        if isinstance(segment, MediaSegment):
            digest = hashlib.blake2b(scope, digest_size=16, person=b"pollux-image")
            digest.update(segment.hash)
            images.append(Image(at, at + segment.tokens, digest.digest(), segment))
        at += len(segment)
    return tuple(images)


def image_around(images: Images, position: int) -> Image | None:
    """The image that a cut before `position` would split."""
    return next((image for image in images if image.start < position < image.end), None)


def images_between(images: Images, start: int, end: int) -> Images:
    """Those with positions in [start, end)."""
    if not images:
        return ()
    return tuple(image for image in images if image.start < end and image.end > start)


def unsplit(images: Images, start: int, count: int, most: int) -> int:
    """How many of `count` positions from `start` on are read without splitting an image. One that
    begins at `start` is read whole where it has at most `most` positions, and else not at all."""
    split = image_around(images, start + count)
    if split is None:
        return count
    if split.start > start:
        return split.start - start
    length = split.end - start
    return length if length <= most else 0


def found_whole(memory: PagedMemory, images: Images, keys: Sequence[bytes]) -> int:
    """How many of the pages with these keys a sequence can begin with: all of them are there, and
    no image goes on behind the last."""
    found = memory.find(keys)
    while found and (split := image_around(images, found * memory.page_size)):
        found = memory.find(keys[: split.start // memory.page_size])
    return found


def page_content(images: Images, start: int, end: int) -> bytes:
    """What the key of the page [start, end) says beside token ids."""
    return b"".join(
        struct.pack("<qI", image.start - start, image.end - image.start) + image.key
        for image in images_between(images, start, end)
    )


def check_media(group: Group, vision: VisionSpec | None) -> None:
    """Raises InvalidParameter for media that the model does not take."""
    segments: Sequence[MediaSegment] = group.prompt.media
    if not segments:
        return
    if vision is None:
        raise InvalidParameter("prompt", "this model takes text only")
    for segment in segments:
        _check_image(segment, vision)
    last = next(segment for segment in reversed(group.prompt.segments) if len(segment))
    if isinstance(last, MediaSegment):
        raise InvalidParameter("prompt", "text must follow the prompt's last image")
    if group.prompt_logprobs is not None:
        raise InvalidParameter("prompt_logprobs", "prompts with images are not scored")
    if group.embed:
        raise InvalidParameter("embed", "prompts with images are not embedded")


def _check_image(segment: MediaSegment, vision: VisionSpec) -> None:
    size = vision.image_size
    if segment.shape != (size, size, 3) or not segment.is_complete:
        raise InvalidParameter("prompt", f"this model takes images of {size} x {size} pixels")
    if (segment.tokens, segment.placeholder) != (vision.tokens, vision.placeholder):
        raise InvalidParameter(
            "prompt",
            f"an image of this model has {vision.tokens} tokens with the id {vision.placeholder}",
        )
