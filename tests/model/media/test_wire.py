"""What passes between the gateway and a decoding process that may have been taken over."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.media import wire
from model.media.limits import MediaLimits
from model.media.records import (
    AudioFrames,
    Decoded,
    DecodedAudio,
    DecodedImage,
    DecodedVideo,
    ImagePatches,
    Job,
    SiglipImages,
    VideoPatches,
)

F, N, H, W = 2, 3, 4, 5


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).random(shape, dtype=np.float32)


RESULTS: list[Decoded] = [
    DecodedImage(pixels=np.arange(H * W * 3, dtype=np.uint8).reshape(H, W, 3)),
    DecodedAudio(samples=floats(N)),
    DecodedVideo(frames=np.ones((F, H, W, 3), np.uint8), timestamps=np.array([0.0, 0.5])),
    ImagePatches(patches=floats(N, 6912), positions=np.ones((N, 2), np.int32), height=9, width=8),
    VideoPatches(
        patches=floats(F, N, 6912),
        positions=np.ones((N, 2), np.int32),
        timestamps=np.array([0.0, 0.5]),
        height=9,
        width=8,
    ),
    AudioFrames(frames=floats(N, 640), length=1900),
    SiglipImages(pixels=floats(1, 896, 896, 3), height=9, width=8),
]


def sent(result: Decoded) -> tuple[bytes, memoryview]:
    """Head and body, as the other side reads them."""
    start, arrays = wire.answered(result)
    lengths, head = start[: wire.LENGTHS.size], start[wire.LENGTHS.size :]
    body = memoryview(b"".join(arrays))
    assert wire.LENGTHS.unpack(lengths) == (len(head), len(body))
    return head, body


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: type(result).__name__)
def test_a_result_arrives_as_it_was_sent(result: Decoded) -> None:
    found = wire.read_answered(*sent(result))
    assert type(found) is type(result)
    for name in result.__struct_fields__:
        was, now = getattr(result, name), getattr(found, name)
        assert np.array_equal(was, now)
        if isinstance(was, np.ndarray):
            assert was.dtype == now.dtype


def test_a_job_and_a_failure_arrive_as_they_were_sent() -> None:
    job = Job(read="video", mime="video/mp4", family="gemma4_unified", fps=2.0, frames=3)
    message = wire.asked(job, MediaLimits(pixels=7), 99)
    length, body = wire.LENGTHS.unpack(message[: wire.LENGTHS.size])
    head = message[wire.LENGTHS.size :]
    assert (length, body) == (len(head), 99)
    asked = wire.read_asked(head)
    assert (asked.job, asked.limits) == (job, MediaLimits(pixels=7))
    failure = wire.failure("pixels")[wire.LENGTHS.size :]
    assert wire.read_answered(failure, memoryview(b"")) == "pixels"


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_bytes_break_the_reader(head: bytes, body: bytes) -> None:
    try:
        found = wire.read_answered(head, memoryview(body))
    except wire.BadReply:
        return
    assert isinstance(found, str | Decoded)


def image(**changes: object) -> bytes:
    said: dict[str, object] = {
        "kind": "ImagePatches",
        "shapes": [{"sizes": [1, 6912]}, {"sizes": [1, 2]}],
        "numbers": {"height": 1, "width": 1},
    }
    return msgspec.msgpack.encode(said | changes)


BODY = memoryview(bytes(6912 * 4 + 8))


def test_the_reply_that_the_next_ones_are_made_of_is_good() -> None:
    assert isinstance(wire.read_answered(image(), BODY), ImagePatches)


@pytest.mark.parametrize(
    "head",
    [
        image(kind="Job"),
        image(kind="os.system"),
        image(failed="anything else"),
        image(shapes=[{"sizes": [1, 6912]}]),
        image(shapes=[{"sizes": [1, 6912]}, {"sizes": [2, 1]}]),
        image(shapes=[{"sizes": [0, 6912]}, {"sizes": [0, 2]}]),
        image(shapes=[{"sizes": [-1, 6912]}, {"sizes": [-1, 2]}]),
        image(shapes=[{"sizes": [2**62, 6912]}, {"sizes": [2**62, 2]}]),
        image(shapes=[{"sizes": [2, 6912]}, {"sizes": [1, 2]}]),
        image(shapes=[{"sizes": [6912]}, {"sizes": [1, 2]}]),
        image(numbers={"height": 1}),
        image(numbers={"height": 1, "width": 1, "depth": 1}),
        image(numbers={"height": 1, "width": 1, "patches": 1}),
        image(numbers={"height": "1", "width": 1}),
    ],
)
def test_a_reply_that_no_decoder_of_ours_gives_is_refused(head: bytes) -> None:
    with pytest.raises(wire.BadReply):
        wire.read_answered(head, BODY)


def test_a_body_that_is_too_long_or_too_short_is_refused() -> None:
    for body in (BODY[:-1], memoryview(bytes(BODY) + b"x"), memoryview(b"")):
        with pytest.raises(wire.BadReply):
            wire.read_answered(image(), body)
