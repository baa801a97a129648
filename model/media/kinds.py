"""What the bytes are, by their first ones. What a sender says can only contradict them.

A decoder is chosen by the bytes and may read that one format: content that is two formats at once
(polyglot) cannot reach another decoder through its name.
"""

import re
from enum import Enum

from model.media.errors import BadMedia
from model.media.records import Read


class Kind(Enum):
    """(name of the reader in Pillow or FFmpeg, what can be read from it)"""

    PNG = ("PNG", "image")
    JPEG = ("JPEG", "image")
    BMP = ("BMP", "image")
    WEBP = ("WEBP", "image video")
    GIF = ("GIF", "image video")
    WAV = ("wav", "audio")
    AIFF = ("aiff", "audio")
    FLAC = ("flac", "audio")
    MP3 = ("mp3", "audio")
    AAC = ("aac", "audio")
    OGG = ("ogg", "audio")
    PCM = ("s16le", "audio")
    MP4 = ("mp4", "video audio")
    WEBM = ("matroska", "video audio")

    @property
    def reader(self) -> str:
        return self.value[0]

    @property
    def reads(self) -> list[str]:
        return self.value[1].split()

    @property
    def is_image(self) -> bool:
        return "image" in self.reads


_STARTS = (
    (b"\x89PNG\r\n\x1a\n", Kind.PNG),
    (b"\xff\xd8\xff", Kind.JPEG),
    (b"GIF87a", Kind.GIF),
    (b"GIF89a", Kind.GIF),
    (b"BM", Kind.BMP),
    (b"fLaC", Kind.FLAC),
    (b"OggS", Kind.OGG),
    (b"ID3", Kind.MP3),
    (b"\x1a\x45\xdf\xa3", Kind.WEBM),
)
_RIFF = {b"WEBP": Kind.WEBP, b"WAVE": Kind.WAV}
_FORM = {b"AIFF": Kind.AIFF, b"AIFC": Kind.AIFF}
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"mif1", b"msf1")

_RAW = frozenset(("audio/pcm", "audio/x-pcm"))
_MAJORS = frozenset(("image", "audio", "video"))
_ANY = frozenset(("application/octet-stream", "application/ogg", "application/mp4"))
_PARAMETER = re.compile(r";\s*(rate|channels)\s*=\s*\"?([0-9]{1,7})\"?\s*(?=;|$)", re.IGNORECASE)


def sniff(data: bytes) -> Kind | None:
    """None for what is not read here."""
    for start, kind in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF":
        return _RIFF.get(data[8:12])
    if data[:4] == b"FORM":
        return _FORM.get(data[8:12])
    if data[4:8] == b"ftyp":
        return None if data[8:12] in _STILL_BRANDS else Kind.MP4
    if len(data) > 1 and data[0] == 0xFF:
        if data[1] & 0xF6 == 0xF0:  # ADTS: twelve bits of sync, layer 0
            return Kind.AAC
        if data[1] & 0xE6 == 0xE2:  # eleven bits of sync, layer III
            return Kind.MP3
    return None


def kind_of(data: bytes, mime: str | None, read: Read) -> Kind:
    """Raises BadMedia. An image said to be another kind of image passes, as browsers hold it; an
    image said to be sound does not."""
    essence = (mime or "").partition(";")[0].strip().lower()
    kind = Kind.PCM if essence in _RAW else sniff(data)
    if kind is None:
        raise BadMedia("unknown")
    if essence and essence not in _ANY:
        major = essence.partition("/")[0]
        if major not in _MAJORS or (major == "image") != kind.is_image:
            raise BadMedia("mismatch")
        if major == "video" and "video" not in kind.reads and kind is not Kind.OGG:
            raise BadMedia("mismatch")
    if read not in kind.reads:
        raise BadMedia("wrong_kind")
    return kind


def pcm_layout(mime: str) -> tuple[int, int]:
    """(rate in Hz, channels) of raw 16-bit little-endian samples: `audio/pcm;rate=24000`."""
    said = {name.lower(): int(number) for name, number in _PARAMETER.findall(mime)}
    return said.get("rate", 16_000), said.get("channels", 1)
