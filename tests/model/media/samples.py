"""Small real files of every format that is read, made with Pillow and PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image


def picture(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    """[H, W, 3], smooth, different along both sides and in each channel."""
    y, x = np.mgrid[0:height, 0:width]
    red = x * 255 // max(width - 1, 1)
    green = y * 255 // max(height - 1, 1)
    blue = (x + y) * 255 // max(width + height - 2, 1)
    return np.stack([red, green, blue], axis=2).astype(np.uint8)


def image_file(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = BytesIO()
    (image or Image.fromarray(picture())).save(out, kind, **options)
    return out.getvalue()


def gif_file(frames: int = 6, duration: int = 200, side: int = 24) -> bytes:
    images = [Image.new("RGB", (side, side), (40 * index % 256, 0, 0)) for index in range(frames)]
    return image_file("GIF", images[0], save_all=True, append_images=images[1:], duration=duration)


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> NDArray[np.float32]:
    at = np.arange(int(rate * seconds)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * at)).astype(np.float32)


def sound_file(
    container: str,
    codec: str,
    rate: int = 48_000,
    seconds: float = 0.5,
    layout: str = "mono",
    options: dict[str, str] | None = None,
) -> bytes:
    out = BytesIO()
    channels = 1 if layout == "mono" else 2
    samples = np.repeat(tone(rate, seconds)[None], channels, axis=0)
    with av.open(out, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(
            format=stream.codec_context.format or "s16", layout=layout, rate=rate
        )
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "fltp", layout)
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        fifo = av.AudioFifo()
        for piece in resampler.resample(frame):
            fifo.write(piece)
        while (part := fifo.read(size, partial=True)) is not None:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return out.getvalue()


def video_file(
    container: str = "mp4",
    codec: str = "libx264",
    frames: int = 50,
    rate: int = 10,
    size: tuple[int, int] = (64, 96),
    sound: bool = False,
    key_every: int = 10,
) -> bytes:
    """Frame i is grey of 4 * i + 20, so that it can be told from its pixels."""
    out = BytesIO()
    height, width = size
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, options={"g": str(key_every)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = key_every
        track = (
            file.add_stream("aac" if container == "mp4" else "libopus", rate=48_000)
            if sound
            else None
        )
        for index in range(frames):
            pixels = np.full((height, width, 3), grey_of(index), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if track is not None:
            _add_tone(file, track, frames / rate)
    return out.getvalue()


def grey_of(index: int) -> int:
    return 20 + 4 * index % 220


def _add_tone(file: Any, track: Any, seconds: float) -> None:
    samples = tone(48_000, seconds)[None]
    size = track.codec_context.frame_size or 960
    resampler = av.AudioResampler(
        format=track.codec_context.format or "fltp",
        layout=track.codec_context.layout or "mono",
        rate=48_000,
    )
    for start in range(0, samples.shape[1], size):
        part = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[:, start : start + size]), "fltp", "mono"
        )
        part.sample_rate, part.pts, part.time_base = 48_000, start, Fraction(1, 48_000)
        for piece in resampler.resample(part):
            file.mux(track.encode(piece))
    file.mux(track.encode(None))


SOUNDS: Sequence[tuple[str, str, str]] = (
    ("wav", "pcm_s16le", "audio/wav"),
    ("aiff", "pcm_s16be", "audio/aiff"),
    ("flac", "flac", "audio/flac"),
    ("mp3", "libmp3lame", "audio/mpeg"),
    ("adts", "aac", "audio/aac"),
    ("ogg", "libopus", "audio/ogg"),
    ("mp4", "aac", "audio/mp4"),
    ("webm", "libopus", "audio/webm"),
)


@cache
def every_format() -> dict[str, tuple[bytes, str, str]]:
    """name: (bytes, what to read, MIME type)."""
    found = {
        name: (image_file(name), "image", f"image/{name.lower()}")
        for name in ("PNG", "JPEG", "WEBP", "BMP")
    }
    found["GIF"] = (gif_file(), "image", "image/gif")
    found["GIF frames"] = (gif_file(), "video", "image/gif")
    for container, codec, mime in SOUNDS:
        found[f"{container} {codec}"] = (sound_file(container, codec), "audio", mime)
    found["PCM"] = (
        (tone(16_000) * 32767).astype("<i2").tobytes(), "audio", "audio/pcm;rate=16000"
    )  # fmt: skip
    found["MP4"] = (video_file(), "video", "video/mp4")
    found["WebM"] = (video_file("webm", "libvpx-vp9"), "video", "video/webm")
    return found
