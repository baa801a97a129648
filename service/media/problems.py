"""What is said about media that cannot be read: our words, never a decoder's.

A decoder's message once told a heap address (CVE-2026-22778).
"""

from model.media.errors import Reason
from model.media.limits import RATES, MediaLimits
from service.errors import ApiError
from service.media.process import Failure

FORMATS = (
    "PNG, JPEG, WebP, GIF and BMP images, WAV, AIFF, FLAC, MP3, AAC, Ogg and raw PCM sound, "
    "MP4 and WebM video"
)

_WORDS: dict[Reason, str] = {
    "unknown": f"the media is in no format that is read here; these are {FORMATS}",
    "mismatch": "the media is not of the MIME type that is given for it",
    "wrong_kind": "the media has none of what is to be read from it",
    "unreadable": "the media is damaged, or of a codec that is not read here",
    "memory": "the media takes too much memory to decode",
    "result": "the media is too large once it is decoded",
    "rate": f"the sound has a sample rate that is not read: {RATES[0]} to {RATES[-1]} Hz are",
}


def media_error(reason: Reason, limits: MediaLimits, param: str | None = None) -> ApiError:
    return ApiError("invalid", _message(reason, limits), param=param, code=f"media_{reason}")


def failure_error(failure: Failure, limits: MediaLimits, param: str | None = None) -> ApiError:
    """Of the decoding process."""
    match failure:
        case "start":
            message = "media cannot be decoded at the moment"
            return ApiError("unavailable", message, param=param, retry_after=1.0)
        case "slow":
            message = "the media takes too long to decode"
            return ApiError("invalid", message, param=param, code="media_time")
        case "memory":
            return media_error("memory", limits, param)
        case "crash":
            return media_error("unreadable", limits, param)


def _message(reason: Reason, limits: MediaLimits) -> str:
    match reason:
        case "pixels":
            return f"an image may have {limits.pixels} pixels"
        case "seconds":
            return f"sound and video may last {limits.seconds:g} seconds"
        case "frames":
            return "the animation or video has too many frames"
        case _:
            return _WORDS[reason]
