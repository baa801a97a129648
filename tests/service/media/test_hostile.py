"""Media made to break a decoder: each is refused in our words, and the next one is read."""

import io
import struct
import zlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from model.media.limits import MAX_ANIMATION_FRAMES, MediaLimits
from model.media.records import DecodedImage, Job, Read
from service.errors import ApiError
from service.media.pool import DecodingPool
from service.media.process import Terms
from tests.model.media.samples import every_format, gif_file, image_file, sound_file, video_file

LIMITS = MediaLimits(pixels=4_000_000, seconds=30.0, frames=8)
TERMS = Terms(memory=512 * 1024**2, max_bytes=16 * 1024**2, seconds=20.0)
CODES = frozenset(
    f"media_{reason}"
    for reason in ("unknown", "mismatch", "wrong_kind", "unreadable", "pixels", "seconds", "frames",
                   "result", "memory", "rate", "time")
)  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[DecodingPool]:
    pool = DecodingPool(TERMS, LIMITS, workers=1)
    yield pool
    await pool.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


READ_ANYWAY = "read"


async def outcome(pool: DecodingPool, data: bytes, read: Read, mime: str | None = None) -> str:
    """The code of the refusal, or that there was none; the pool works afterwards."""
    try:
        await pool.decode(data, Job(read=read, mime=mime))
        code = READ_ANYWAY
    except ApiError as error:
        code = checked(error)
    found = await pool.decode(image_file("PNG"), Job(read="image"))
    assert isinstance(found.content, DecodedImage)
    return code


def checked(error: ApiError) -> str:
    assert error.status == 400
    assert error.code in CODES
    assert "0x" not in error.message
    assert "\n" not in error.message
    return error.code


async def refused(pool: DecodingPool, data: bytes, read: Read, mime: str | None = None) -> str:
    code = await outcome(pool, data, read, mime)
    assert code != READ_ANYWAY
    return code


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, body: bytes, extra: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ends = chunk(b"IDAT", zlib.compress(body, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + ends


async def test_nothing_is_refused(pool: DecodingPool) -> None:
    assert await refused(pool, b"", "image") == "media_unreadable"


@pytest.mark.parametrize("name", sorted(every_format()))
async def test_a_file_that_ends_early_is_refused_or_read_as_far_as_it_goes(
    pool: DecodingPool, name: str
) -> None:
    """A stream has no end to be missed; everything else is refused."""
    data, read, mime = every_format()[name]
    for keep in (1, 4, 12, 40, len(data) // 2, len(data) - 1):
        code = await outcome(pool, data[:keep], read, mime)  # type: ignore[arg-type]
        # The first frame of a GIF may be whole.
        assert code != READ_ANYWAY or read != "image" or name == "GIF" or keep > len(data) // 2
    assert await outcome(pool, data, read, mime) == READ_ANYWAY  # type: ignore[arg-type]


async def test_a_header_of_a_thousand_million_pixels_is_refused_before_decoding(
    pool: DecodingPool,
) -> None:
    for width, height in ((50_000, 50_000), (2**31 - 1, 2**31 - 1), (100_000, 1), (1, 2**31 - 1)):
        assert await refused(pool, png(width, height, b"\0"), "image") == "media_pixels"
    gif = bytearray(gif_file())
    gif[6:10] = b"\xff\xff\xff\xff"
    assert await refused(pool, bytes(gif), "image") == "media_pixels"
    bmp = bytearray(image_file("BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    assert await refused(pool, bytes(bmp), "image") == "media_pixels"


async def test_an_image_without_a_side_is_refused(pool: DecodingPool) -> None:
    assert await refused(pool, png(0, 5, b""), "image") == "media_unreadable"
    assert await refused(pool, png(5, 0, b""), "image") == "media_unreadable"


async def test_an_image_of_one_pixel_is_read(pool: DecodingPool) -> None:
    for family in ("plain", "gemma4_unified", "siglip"):
        for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
            tiny = image_file(kind, Image.new("RGB", (1, 1), "red"))
            job = Job(read="image", family=family, pan_and_scan=family == "siglip")
            await pool.decode(tiny, job)


async def test_more_image_data_than_the_header_says_is_not_unpacked(pool: DecodingPool) -> None:
    """4 GiB of zeros behind a header of one pixel."""
    bomb = zlib.compressobj(9)
    packed = bomb.compress(bytes(1 << 20)) + bomb.flush(zlib.Z_FULL_FLUSH)
    block = bomb.compress(bytes(1 << 20)) + bomb.flush(zlib.Z_FULL_FLUSH)
    packed += block * 4095 + bomb.flush()
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    data += chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    assert len(data) < TERMS.max_bytes
    await outcome(pool, data, "image")


async def test_text_and_colour_profiles_in_an_image_are_no_way_to_unpack_much(
    pool: DecodingPool,
) -> None:
    packed = zlib.compress(bytes(200 << 20), 9)
    for extra in (
        chunk(b"zTXt", b"a\0\0" + packed),
        chunk(b"iTXt", b"a\0\1\0\0\0" + packed),
        chunk(b"iCCP", b"a\0\0" + packed),
    ):
        await outcome(pool, png(1, 1, bytes(4), extra), "image")


async def test_thousands_of_frames_are_refused(pool: DecodingPool) -> None:
    one = gif_file(frames=2, side=1)
    start = one.index(b"\x21\xf9", 20)
    frame = one[start:-1]
    data = one[:start] + frame * (MAX_ANIMATION_FRAMES + 1) + b";"
    assert await refused(pool, data, "video") == "media_frames"


async def test_a_frame_that_lasts_for_ever_is_refused(pool: DecodingPool) -> None:
    data = gif_file(frames=6, duration=60_000)
    assert await refused(pool, data, "video") == "media_seconds"


async def test_an_hour_of_silence_in_few_bytes_is_refused_on_the_way(pool: DecodingPool) -> None:
    """The Opus bomb: 25 MB once became 14.9 GB."""
    short = sound_file("ogg", "libopus", seconds=40.0)
    assert await refused(pool, short, "audio") == "media_seconds"


async def test_an_mp3_without_an_end_is_refused_on_the_way(pool: DecodingPool) -> None:
    bare = {"write_xing": "0", "id3v2_version": "0"}
    one = sound_file("mp3", "libmp3lame", seconds=2.0, options=bare)
    endless = one * (TERMS.max_bytes // len(one) - 1)
    assert await refused(pool, endless, "audio", "audio/mpeg") == "media_seconds"


async def test_a_duration_in_a_header_is_not_believed(pool: DecodingPool) -> None:
    """Neither one that is too long, nor one that hides what comes."""
    data = bytearray(video_file(frames=20))
    at = data.index(b"mvhd") + 4
    data[at + 16 : at + 20] = b"\x7f\xff\xff\xff"
    await pool.decode(bytes(data), Job(read="video"))
    long = bytearray(video_file(frames=60, rate=1))
    at = long.index(b"mvhd") + 4
    long[at + 16 : at + 20] = struct.pack(">I", 1)
    assert await refused(pool, bytes(long), "video") == "media_seconds"


async def test_sizes_in_containers_are_not_believed(pool: DecodingPool) -> None:
    data = bytearray(video_file(frames=5))
    at = data.index(b"stsz") + 4
    data[at + 8 : at + 12] = b"\xff\xff\xff\xff"
    assert await refused(pool, bytes(data), "video") in CODES
    wav = bytearray(sound_file("wav", "pcm_s16le"))
    at = wav.index(b"data")
    wav[at + 4 : at + 8] = b"\xff\xff\xff\x7f"
    await pool.decode(bytes(wav), Job(read="audio"))  # streams are written so
    wav[22:24] = b"\xff\xff"  # channels
    assert await refused(pool, bytes(wav), "audio") in CODES


async def test_a_file_that_is_two_formats_is_the_one_of_its_first_bytes(pool: DecodingPool) -> None:
    """GIF and ZIP, JPEG and HTML, PNG and MP4: what comes behind reaches no decoder."""
    for tail in (b"PK\x03\x04" * 50, b"<script>alert(1)</script>", video_file(frames=2)):
        found = await pool.decode(image_file("PNG") + tail, Job(read="image", mime="image/png"))
        assert isinstance(found.content, DecodedImage)
        assert found.content.pixels.shape == (40, 60, 3)
        code = await refused(pool, image_file("PNG") + tail, "video", "video/mp4")
        assert code == "media_mismatch"


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"<?xml version='1.0'?><MPD><BaseURL>file:///etc/passwd</BaseURL></MPD>",
        b"%!PS-Adobe-3.0\n(/etc/passwd) (r) file",
        b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x.jpg'",
        b"P6\n10 10\n255\n" + bytes(300),
    ],
)
async def test_lists_and_programs_that_lead_elsewhere_are_no_media(
    pool: DecodingPool, data: bytes
) -> None:
    for read, mime in (("image", "image/png"), ("video", "video/mp4"), ("audio", "audio/mpeg")):
        assert await refused(pool, data, read, mime) == "media_unknown"  # type: ignore[arg-type]


async def test_an_mp4_that_refers_to_another_file_opens_none(pool: DecodingPool) -> None:
    """A data reference (`dref`) to a path instead of this file."""
    data = video_file(frames=5)
    at = data.index(b"url \x00\x00\x00\x01")
    path = b"file:///etc/passwd\0"
    altered = data[: at + 4] + bytes(4) + data[at + 8 :]  # "not in this file"
    for tried in (altered, altered.replace(b"url \0\0\0\0", b"alis\0\0\0\0") + path):
        await outcome(pool, tried, "video")


async def test_a_decoder_that_is_out_of_memory_gives_way_to_a_working_one() -> None:
    pool = DecodingPool(
        Terms(memory=64 * 1024**2, max_bytes=TERMS.max_bytes, seconds=20.0),
        MediaLimits(),
        workers=1,
    )
    out = io.BytesIO()
    Image.new("RGBA", (5000, 5000)).save(out, "PNG")
    assert await refused(pool, out.getvalue(), "image") == "media_memory"
    await pool.close()
