"""Bounds on decoding, checked before the work where a header tells, and while it goes on."""

from model.records import Record

MAX_PIXELS = 100_000_000
"""Most that `pixels` may be set to; above it Pillow would warn, then refuse."""
MAX_SIDE = 65_500
RATES = range(4_000, 384_001)
"""Sample rates in Hz. What is far below real sound is a way to make much out of little."""
MAX_CHANNELS = 64
MAX_BAD_PACKETS = 8
"""Of a sound: a stream cut out of another begins with some."""
MAX_PACKETS_PER_SECOND = 1_000
MAX_ANIMATION_FRAMES = 5_000


class MediaLimits(Record, frozen=True):
    """pixels: of an image, or of one frame of a video. seconds: of sound or video. frames: taken
    from a video. result_bytes: of all arrays of a result together."""

    pixels: int = 50_000_000
    seconds: float = 600.0
    frames: int = 32
    result_bytes: int = 512 * 1024**2
