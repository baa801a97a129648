"""Frames of a video with their times, with PyAV.

Two passes over the bytes. The first reads packets and decodes nothing: it finds the frames that
there really are, whatever the header says. The second decodes only the groups of pictures that
hold a chosen frame.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from model.media.containers import VIDEO_CODECS, opened, stream_of
from model.media.errors import BadMedia, decoding
from model.media.kinds import Kind
from model.media.limits import MAX_PACKETS_PER_SECOND, MAX_SIDE, MediaLimits
from model.media.sampling import evenly, frames_at

Each = Callable[[NDArray[np.uint8]], NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class _Packet:
    """group: its group of pictures; early: shown before its group's key frame, so that it may
    lean on the group before."""

    pts: int
    group: int
    early: bool


def decode_video(
    data: bytes, kind: Kind, limits: MediaLimits, wanted: int, fps: float | None, each: Each
) -> tuple[list[NDArray[np.generic]], list[float]]:
    """Frames as `each` makes them from [H, W, 3] pixels, and their times in seconds. Raises
    BadMedia."""
    with decoding():
        packets, tick = _scanned(data, kind, limits)
        shown = sorted(packets, key=lambda packet: packet.pts)
        start = shown[0].pts
        times = [(packet.pts - start) * tick for packet in shown]
        if times[-1] > limits.seconds:
            raise BadMedia("seconds")
        indices = frames_at(times, fps, wanted) if fps else evenly(len(shown), wanted)
        chosen = [shown[index] for index in indices]
        taken: list[NDArray[np.generic]] = []
        seconds: list[float] = []
        for frame in _decoded(data, kind, limits, chosen):
            taken.append(each(_pixels(frame)))
            seconds.append(((frame.pts or 0) - start) * tick)
    if not taken:
        raise BadMedia("unreadable")
    return taken, seconds


def _scanned(data: bytes, kind: Kind, limits: MediaLimits) -> tuple[list[_Packet], float]:
    """All packets in the order of decoding, and the seconds of one tick of their clock."""
    packets: list[_Packet] = []
    most = int(limits.seconds * MAX_PACKETS_PER_SECOND)
    with opened(data, kind) as container:
        stream = stream_of(container.streams.video, VIDEO_CODECS)
        group, key_pts = -1, 0
        for packet in container.demux(stream):
            if packet.size == 0 or packet.pts is None:
                continue
            if packet.is_corrupt:
                raise BadMedia("unreadable")
            if packet.is_keyframe or group < 0:
                group, key_pts = group + 1, packet.pts
            packets.append(_Packet(packet.pts, group, packet.pts < key_pts))
            if len(packets) > most:
                raise BadMedia("frames")
        tick = float(stream.time_base or 0)
    if not packets or tick <= 0:
        raise BadMedia("unreadable")
    return packets, tick


def _decoded(
    data: bytes, kind: Kind, limits: MediaLimits, chosen: list[_Packet]
) -> Iterator[VideoFrame]:
    """For each chosen packet the first frame shown at its time or after, once."""
    groups = {packet.group for packet in chosen}
    groups |= {packet.group - 1 for packet in chosen if packet.early}
    pending = [packet.pts for packet in reversed(chosen)]
    for frame in _frames_of(data, kind, limits, groups):
        if frame.pts is None or frame.pts < pending[-1]:
            continue
        yield frame
        while pending and pending[-1] <= frame.pts:
            pending.pop()
        if not pending:
            return


def _frames_of(
    data: bytes, kind: Kind, limits: MediaLimits, groups: set[int]
) -> Iterator[VideoFrame]:
    with opened(data, kind) as container:
        stream = stream_of(container.streams.video, VIDEO_CODECS)
        decoder = stream.codec_context
        if decoder.width * decoder.height > limits.pixels:
            raise BadMedia("pixels")
        decoder.options = {"max_pixels": str(limits.pixels)}
        group = -1
        for packet in container.demux(stream):
            if packet.size == 0 or packet.pts is None:
                continue
            if packet.is_keyframe or group < 0:
                group += 1
                if group not in groups and group - 1 in groups:
                    yield from _bounded(decoder.decode(None), limits)
                    decoder.flush_buffers()
            if group in groups:
                yield from _bounded(decoder.decode(packet), limits)
        yield from _bounded(decoder.decode(None), limits)


def _bounded(frames: list[VideoFrame], limits: MediaLimits) -> Iterator[VideoFrame]:
    for frame in frames:
        if frame.width * frame.height > limits.pixels or max(frame.width, frame.height) > MAX_SIDE:
            raise BadMedia("pixels")
        yield frame


def _pixels(frame: VideoFrame) -> NDArray[np.uint8]:
    """Upright: phones film on their side and say so."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns), dtype=np.uint8)
