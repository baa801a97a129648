"""Files of sound and video, opened with one demuxer over memory and with known codecs only."""

from collections.abc import Sequence
from io import BytesIO
from typing import TypeVar

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream

from model.media.errors import BadMedia
from model.media.kinds import Kind

SOUND_CODECS = frozenset(
    (
        "pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le",
        "pcm_s32be", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw", "flac", "mp3", "mp3float",
        "opus", "libopus", "vorbis", "aac", "alac",
    )
)  # fmt: skip
VIDEO_CODECS = frozenset(("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4"))

_MAX_STREAMS = 32

S = TypeVar("S", AudioStream, VideoStream)


def opened(data: bytes, kind: Kind) -> InputContainer:
    """Never guesses the format, never follows a reference out of the file. Raises PyAV's errors."""
    container = av.open(
        BytesIO(data),
        mode="r",
        format=kind.reader,
        options={"protocol_whitelist": "none", "enable_drefs": "0", "max_streams": "64"},
        metadata_errors="ignore",
    )
    if len(container.streams) > _MAX_STREAMS:
        container.close()
        raise BadMedia("unreadable")
    return container


def stream_of(streams: Sequence[S], codecs: frozenset[str]) -> S:
    """The first. Raises BadMedia where there is none, or its codec is not read here."""
    if not streams:
        raise BadMedia("wrong_kind")
    stream = streams[0]
    if stream.codec_context is None or stream.codec_context.codec.name not in codecs:
        raise BadMedia("unreadable")
    stream.codec_context.thread_count = 1
    return stream
