"""Samples that come out of sound of every kind."""

import struct

import numpy as np
import pytest

from model.media.errors import BadMedia
from model.media.limits import MediaLimits
from model.media.reading import read
from model.media.records import AudioFrames, DecodedAudio, Job
from tests.model.media.samples import SOUNDS, sound_file, tone, video_file

LIMITS = MediaLimits()


def samples_of(data: bytes, mime: str | None = None, limits: MediaLimits = LIMITS) -> np.ndarray:
    found = read(data, Job(read="audio", mime=mime), limits)
    assert isinstance(found, DecodedAudio)
    assert found.samples.dtype == np.float32
    return found.samples


def refused(data: bytes, mime: str | None = None, limits: MediaLimits = LIMITS) -> str:
    with pytest.raises(BadMedia) as caught:
        read(data, Job(read="audio", mime=mime), limits)
    return caught.value.reason


def pitch(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * 16_000 / len(samples)


def loudness(samples: np.ndarray) -> float:
    """Height of the tone, from its mean power: an encoder may err in one frame."""
    return float(np.sqrt(2 * np.mean(np.square(samples))))


@pytest.mark.parametrize(("container", "codec", "mime"), SOUNDS)
def test_a_tone_keeps_its_pitch_length_and_loudness(container: str, codec: str, mime: str) -> None:
    samples = samples_of(sound_file(container, codec), mime)
    assert 0.45 * 16_000 < len(samples) < 0.6 * 16_000
    assert pitch(samples) == pytest.approx(440, abs=4)
    assert loudness(samples[1000:7000]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_every_usual_rate_is_resampled(rate: int) -> None:
    samples = samples_of(sound_file("wav", "pcm_s16le", rate))
    assert len(samples) == pytest.approx(8_000, abs=40)
    assert pitch(samples) == pytest.approx(440, abs=4)


def test_sound_of_16_khz_is_not_changed() -> None:
    samples = samples_of(sound_file("wav", "pcm_s16le", 16_000))
    assert np.abs(samples - tone(16_000)).max() < 1e-4


def test_what_lies_above_half_the_rate_is_filtered_out() -> None:
    """Not folded down into what can be heard."""
    high = (tone(48_000, hertz=12_000) * 32_767).astype("<i2").tobytes()
    samples = samples_of(high, "audio/pcm;rate=48000")
    assert np.abs(samples[1000:-1000]).max() < 0.01


def test_two_channels_become_one() -> None:
    samples = samples_of(sound_file("wav", "pcm_s16le", layout="stereo"))
    assert loudness(samples[1000:7000]) == pytest.approx(0.5, abs=0.02)
    pair = np.array([[16_384, 0]] * 4_000, dtype="<i2").tobytes()
    mono = samples_of(pair, "audio/pcm;rate=16000;channels=2")
    assert mono[100:-100] == pytest.approx(0.25, abs=1e-3)


def test_raw_samples_take_their_rate_from_the_type() -> None:
    data = (tone(24_000) * 32_767).astype("<i2").tobytes()
    assert pitch(samples_of(data, "audio/pcm;rate=24000")) == pytest.approx(440, abs=4)
    assert pitch(samples_of(data, "AUDIO/PCM; rate=24000")) == pytest.approx(440, abs=4)
    at_16 = samples_of(data, "audio/pcm")
    assert len(at_16) == 12_000


@pytest.mark.parametrize("rate", ["1", "3999", "384001", "9999999"])
def test_a_rate_of_no_real_sound_is_refused(rate: str) -> None:
    assert refused(bytes(3200), f"audio/pcm;rate={rate}") == "rate"


def test_raw_samples_need_one_or_two_channels_and_one_sample() -> None:
    assert refused(bytes(64), "audio/pcm;channels=0") == "unreadable"
    assert refused(bytes(64), "audio/pcm;channels=9") == "unreadable"
    assert refused(b"\0", "audio/pcm") == "unreadable"


def test_the_sound_of_a_video_is_read_alone() -> None:
    samples = samples_of(video_file(sound=True, frames=20), "video/mp4")
    assert pitch(samples[:16_000]) == pytest.approx(440, abs=4)
    samples = samples_of(video_file("webm", "libvpx-vp9", frames=20, sound=True), "video/webm")
    assert pitch(samples[:16_000]) == pytest.approx(440, abs=4)


def test_a_video_without_sound_has_none() -> None:
    assert refused(video_file(frames=5)) == "wrong_kind"


def test_length_is_bounded_while_it_is_decoded() -> None:
    data = sound_file("ogg", "libopus", seconds=3.0)
    assert refused(data, limits=MediaLimits(seconds=1.0)) == "seconds"
    assert len(samples_of(data, limits=MediaLimits(seconds=3.2))) >= 48_000


def test_values_that_are_no_numbers_are_silence_and_loud_ones_are_cut() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 7.5, -1e30, 0.25] * 100, dtype="<f4")
    head = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", values.nbytes) + values.tobytes()
    samples = samples_of(b"RIFF" + struct.pack("<I", len(body)) + body)
    assert np.isfinite(samples).all()
    assert samples[:6].tolist() == [0.0, 0.0, 0.0, 1.0, -1.0, 0.25]


def test_frames_for_the_model_are_of_640_samples() -> None:
    data = sound_file("wav", "pcm_s16le", 16_000)
    found = read(data, Job(read="audio", family="gemma4_unified"), LIMITS)
    assert isinstance(found, AudioFrames)
    assert (found.frames.shape, found.length) == ((13, 640), 8_000)
    assert not found.frames[-1, 8_000 - 12 * 640 :].any()
