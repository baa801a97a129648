"""How much media a request may bring, before any of it is decoded."""

from dataclasses import dataclass

from model.media.limits import MediaLimits
from service.errors import ApiError
from service.settings import Settings


def limits_of(settings: Settings) -> MediaLimits:
    return MediaLimits(
        pixels=settings.max_image_pixels,
        seconds=settings.max_media_seconds,
        frames=settings.max_video_frames,
    )


@dataclass(slots=True)
class Allowance:
    """What is left for one request. item_bytes: for each; request_bytes, items: for all."""

    item_bytes: int
    request_bytes: int
    items: int
    _bytes: int = 0
    _items: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Allowance":
        return cls(
            settings.max_media_bytes, settings.max_request_media_bytes, settings.max_media_items
        )

    @property
    def next_bytes(self) -> int:
        """Most that one more item may have: what a fetch is bounded by."""
        return min(self.item_bytes, self.request_bytes - self._bytes)

    def take(self, size: int, param: str | None = None) -> None:
        """One more item of `size` bytes. Raises ApiError."""
        self._items += 1
        if self._items > self.items:
            message = f"a request may have {self.items} images, sounds and videos"
            raise ApiError("invalid", message, param=param)
        if size > self.item_bytes:
            message = f"an image, sound or video may have {self.item_bytes} bytes"
            raise ApiError("too_large", message, param=param)
        self._bytes += size
        if self._bytes > self.request_bytes:
            message = f"the media of a request may have {self.request_bytes} bytes together"
            raise ApiError("too_large", message, param=param)
