"""Frames that come out of videos: the right ones, at the right times."""

from fractions import Fraction
from io import BytesIO

import av
import numpy as np
import pytest

from model.media.errors import BadMedia
from model.media.limits import MediaLimits
from model.media.reading import read
from model.media.records import DecodedVideo, Job, VideoPatches
from model.media.sampling import evenly
from tests.model.media.samples import grey_of, picture, sound_file, video_file

LIMITS = MediaLimits()
CODECS = [("mp4", "libx264"), ("mp4", "libx265"), ("mp4", "mpeg4"), ("webm", "libvpx"),
          ("webm", "libvpx-vp9"), ("webm", "libsvtav1")]  # fmt: skip


def frames_of(data: bytes, frames: int | None = None, fps: float | None = None) -> DecodedVideo:
    found = read(data, Job(read="video", frames=frames, fps=fps), LIMITS)
    assert isinstance(found, DecodedVideo)
    return found


def refused(data: bytes, limits: MediaLimits = LIMITS, mime: str | None = None) -> str:
    with pytest.raises(BadMedia) as caught:
        read(data, Job(read="video", mime=mime), limits)
    return caught.value.reason


@pytest.mark.parametrize(("container", "codec"), CODECS)
def test_frames_are_spread_evenly_and_are_the_ones_of_their_times(
    container: str, codec: str
) -> None:
    found = frames_of(video_file(container, codec, frames=50, rate=10), frames=7)
    indices = evenly(50, 7)
    assert found.timestamps.tolist() == pytest.approx([index / 10 for index in indices], abs=0.002)
    greys = found.frames.mean(axis=(1, 2, 3))
    assert greys == pytest.approx([grey_of(index) for index in indices], abs=4)


@pytest.mark.parametrize("key_every", [1, 5, 12, 500])
def test_skipping_groups_of_pictures_changes_no_frame(key_every: int) -> None:
    data = video_file(frames=60, key_every=key_every)
    every = frames_of(data, frames=32)
    for wanted in (1, 2, 3, 16):
        some = frames_of(data, frames=wanted)
        assert some.timestamps.tolist() == pytest.approx(
            [index / 10 for index in evenly(60, wanted)], abs=0.002
        )
        for frame, time in zip(some.frames, some.timestamps, strict=True):
            match = np.flatnonzero(np.isclose(every.timestamps, time))
            if len(match):
                assert np.array_equal(frame, every.frames[match[0]])


def test_frames_can_be_taken_at_a_rate() -> None:
    data = video_file(frames=50, rate=10)
    assert frames_of(data, fps=1.0).timestamps.tolist() == pytest.approx([0, 1, 2, 3, 4], abs=0.002)
    assert len(frames_of(data, fps=240.0).frames) == LIMITS.frames


def test_no_more_frames_come_than_there_are() -> None:
    assert len(frames_of(video_file(frames=3), frames=30).frames) == 3


def test_a_video_filmed_on_its_side_is_turned_upright() -> None:
    scene = picture(64, 96)
    plain, turned = BytesIO(), BytesIO()
    with av.open(plain, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(scene, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    data = bytearray(plain.getvalue())
    at = data.index(b"tkhd") + 4 + 40  # the matrix of the track's header
    one, minus = (1 << 16).to_bytes(4, "big"), (-1 << 16).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    data[at : at + 36] = b"".join(
        (zero, one, zero, minus, zero, zero, zero, zero, (1 << 30).to_bytes(4, "big"))
    )
    turned.write(bytes(data))
    found = frames_of(turned.getvalue()).frames[0].astype(int)
    assert found.shape == (96, 64, 3)
    # A quarter turn to the right, as the matrix says.
    assert np.abs(found - np.rot90(scene, -1)).mean() < 4


def test_length_and_size_are_bounded() -> None:
    data = video_file(frames=50, rate=10)
    assert refused(data, MediaLimits(seconds=3.0)) == "seconds"
    assert refused(data, MediaLimits(pixels=64 * 96 - 1)) == "pixels"
    assert refused(data, MediaLimits(result_bytes=64 * 96 * 3 * 5)) == "result"


def test_sound_is_no_video() -> None:
    assert refused(sound_file("mp4", "aac")) == "wrong_kind"
    assert refused(sound_file("wav", "pcm_s16le")) == "wrong_kind"
    assert refused(sound_file("wav", "pcm_s16le"), mime="video/mp4") == "mismatch"
    assert refused(video_file(frames=2), mime="image/png") == "mismatch"


def test_frames_become_patches_one_by_one() -> None:
    job = Job(read="video", family="gemma4_unified", frames=4)
    found = read(video_file(), job, LIMITS)
    assert isinstance(found, VideoPatches)
    assert found.patches.shape == (4, 60, 6912)
    assert (found.height, found.width) == (64, 96)
    greys = found.patches.mean(axis=(1, 2)) * 255
    assert greys == pytest.approx([grey_of(index) for index in evenly(50, 4)], abs=4)
