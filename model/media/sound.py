"""Sound as 16 kHz mono, with PyAV.

FFmpeg's own resampler, which PyAV carries: it takes any layout, works frame by frame (a bomb is
noticed while it unfolds) and needs no second library.
"""

from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from numpy.typing import NDArray

from model.media.containers import SOUND_CODECS, opened, stream_of
from model.media.errors import BadMedia, decoding
from model.media.kinds import Kind, pcm_layout
from model.media.limits import MAX_BAD_PACKETS, MAX_CHANNELS, RATES, MediaLimits
from model.media.records import SAMPLE_RATE

PCM_CHUNK = 16_384
"""Samples of raw sound resampled at a time."""


def decode_audio(
    data: bytes, kind: Kind, mime: str | None, limits: MediaLimits
) -> NDArray[np.float32]:
    """[n] samples; the first track of the file. Raises BadMedia."""
    with decoding():
        frames = _raw_frames(data, mime or "") if kind is Kind.PCM else _frames(data, kind)
        return _resampled(frames, limits)


def _resampled(frames: Iterator[AudioFrame], limits: MediaLimits) -> NDArray[np.float32]:
    resampler = AudioResampler(format="fltp", rate=SAMPLE_RATE)
    most = int(limits.seconds * SAMPLE_RATE)
    pieces: list[NDArray[np.float32]] = []
    count = 0
    for frame in _ended(frames):
        for piece in resampler.resample(frame):
            # The mean: FFmpeg's own mix of equal channels is louder than they are.
            samples = piece.to_ndarray().mean(axis=0, dtype=np.float32)
            count += len(samples)
            if count > most:
                raise BadMedia("seconds")
            pieces.append(samples)
    if count == 0:
        raise BadMedia("unreadable")
    whole = np.concatenate(pieces)
    return np.clip(np.nan_to_num(whole, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)


def _ended(frames: Iterator[AudioFrame]) -> Iterator[AudioFrame | None]:
    """None, last, makes the resampler give what it holds back."""
    rate, channels = 0, 0
    for frame in frames:
        if frame.sample_rate not in RATES:
            raise BadMedia("rate")
        count = frame.layout.nb_channels
        if not 1 <= count <= MAX_CHANNELS:
            raise BadMedia("unreadable")
        if rate and (frame.sample_rate, count) != (rate, channels):
            raise BadMedia("unreadable")
        rate, channels = frame.sample_rate, count
        frame.pts = None  # gaps and jumps between timestamps are not filled
        yield frame
    if rate:
        yield None


def _frames(data: bytes, kind: Kind) -> Iterator[AudioFrame]:
    with opened(data, kind) as container:
        stream = stream_of(container.streams.audio, SOUND_CODECS)
        bad = 0
        for packet in container.demux(stream):
            try:
                yield from stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                bad += 1
                if bad > MAX_BAD_PACKETS:
                    raise BadMedia("unreadable") from None


def _raw_frames(data: bytes, mime: str) -> Iterator[AudioFrame]:
    rate, channels = pcm_layout(mime)
    if rate not in RATES:
        raise BadMedia("rate")
    if channels not in (1, 2) or len(data) < 2 * channels:
        raise BadMedia("unreadable")
    samples = np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], dtype="<i2")
    for start in range(0, len(samples), PCM_CHUNK):
        frame = AudioFrame.from_ndarray(
            samples[None, start : start + PCM_CHUNK].astype(np.int16),
            format="s16",
            layout="mono" if channels == 1 else "stereo",
        )
        frame.sample_rate = rate
        yield frame
