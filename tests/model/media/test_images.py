"""Pixels that come out of images of every kind."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from model.media.errors import BadMedia
from model.media.limits import MediaLimits
from model.media.reading import read
from model.media.records import DecodedImage, DecodedVideo, Job, SiglipImages
from tests.model.media.samples import gif_file, image_file, picture

LIMITS = MediaLimits()


def pixels_of(data: bytes, mime: str | None = None, limits: MediaLimits = LIMITS) -> np.ndarray:
    found = read(data, Job(read="image", mime=mime), limits)
    assert isinstance(found, DecodedImage)
    assert found.pixels.flags["C_CONTIGUOUS"]
    return found.pixels


def refused(data: bytes, job: Job | None = None, limits: MediaLimits = LIMITS) -> str:
    with pytest.raises(BadMedia) as caught:
        read(data, job or Job(read="image"), limits)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_a_lossless_image_keeps_its_pixels(kind: str) -> None:
    assert np.array_equal(pixels_of(image_file(kind)), picture())


def test_a_lossless_webp_keeps_its_pixels() -> None:
    assert np.array_equal(pixels_of(image_file("WEBP", lossless=True)), picture())


def test_a_jpeg_keeps_its_pixels_nearly() -> None:
    made = pixels_of(image_file("JPEG", quality=95, subsampling=0)).astype(int)
    assert np.abs(made - picture()).max() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_on_its_side_is_turned_upright(orientation: int) -> None:
    """The stored pixels are what the EXIF standard says for each orientation of the scene."""
    scene = picture(20, 30)
    stored = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene),
        7: scene[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(scene, 3),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = image_file("PNG", Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    assert np.array_equal(pixels_of(data), scene)


def test_damaged_exif_data_does_not_cost_the_image() -> None:
    data = image_file("JPEG", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + b"\xff" * 20)
    assert pixels_of(data).shape == (40, 60, 3)


def test_what_is_transparent_is_white() -> None:
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, (255, 128, 0)
    made = pixels_of(image_file("PNG", Image.fromarray(rgba)))
    assert made[0, 0].tolist() == [200, 0, 0]
    assert np.abs(made[0, 1].astype(int) - [227, 127, 127]).max() <= 1
    assert made[0, 2].tolist() == made[1, 0].tolist() == [255, 255, 255]


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    made = pixels_of(image_file("PNG", image, transparency=1))
    assert made[0].tolist() == [[10, 20, 30], [255, 255, 255]]


def test_grey_palette_and_black_and_white_become_colours() -> None:
    grey = Image.fromarray(picture()[..., 0])
    assert np.array_equal(pixels_of(image_file("PNG", grey))[..., 2], picture()[..., 0])
    palette = Image.fromarray(picture()).quantize(64)
    assert np.array_equal(pixels_of(image_file("PNG", palette)), np.asarray(palette.convert("RGB")))
    bits = Image.fromarray(picture()[..., 0]).convert("1")
    assert set(np.unique(pixels_of(image_file("PNG", bits)))) == {0, 255}


def test_sixteen_bits_of_grey_are_scaled_not_cut() -> None:
    wide = np.array([[0, 256, 32_768, 65_535]], dtype=np.uint16)
    made = pixels_of(image_file("PNG", Image.fromarray(wide)))
    assert made[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = pixels_of(image_file("PNG", Image.fromarray(wide), exif=exif))
    assert turned[:, 0, 0].tolist() == [0, 1, 128, 255]


def test_an_image_larger_than_a_strip_is_whole() -> None:
    scene = picture(1100, 1000)
    assert np.array_equal(pixels_of(image_file("BMP", Image.fromarray(scene))), scene)


def test_of_sixteen_bits_for_each_colour_the_upper_ones_are_kept() -> None:
    """Written by hand: Pillow writes no such file."""
    row = b"\0" + struct.pack(">6H", 0, 0x80FF, 0xFFFF, 0x0100, 0x00FF, 0x7F00)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(row)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    assert pixels_of(data)[0].tolist() == [[0, 0x80, 0xFF], [0x01, 0x00, 0x7F]]


def test_printing_colours_become_screen_colours() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red = pixels_of(image_file("JPEG", cmyk, quality=100))[4, 4].astype(int)
    assert np.abs(red - [255, 0, 0]).max() < 6


def test_of_an_animation_the_first_frame_is_the_image() -> None:
    assert pixels_of(gif_file())[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_read_as_a_video(kind: str) -> None:
    images = [Image.new("RGB", (24, 24), (40 * index, 0, 0)) for index in range(6)]
    data = image_file(
        kind, images[0], save_all=True, append_images=images[1:], duration=200, lossless=True
    )
    found = read(data, Job(read="video", frames=3), LIMITS)
    assert isinstance(found, DecodedVideo)
    assert found.timestamps.tolist() == pytest.approx([0.0, 0.4, 0.8])
    assert np.abs(found.frames[:, 5, 5, 0].astype(int) - [0, 80, 160]).max() <= 2


def test_an_image_said_to_be_another_kind_of_image_is_read() -> None:
    assert pixels_of(image_file("PNG"), "image/jpeg").shape == (40, 60, 3)
    assert pixels_of(image_file("PNG"), "application/octet-stream").shape == (40, 60, 3)


@pytest.mark.parametrize("mime", ["audio/wav", "video/mp4", "text/plain", "application/json", "x"])
def test_an_image_said_to_be_something_else_is_refused(mime: str) -> None:
    assert refused(image_file("PNG"), Job(read="image", mime=mime)) == "mismatch"


def test_an_image_is_no_sound() -> None:
    assert refused(image_file("PNG"), Job(read="audio")) == "wrong_kind"
    assert refused(image_file("PNG"), Job(read="video")) == "wrong_kind"


def test_formats_that_are_not_read_are_unknown() -> None:
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "TIFF")
    assert refused(out.getvalue()) == "unknown"
    assert refused(b"%PDF-1.7\n") == "unknown"
    assert refused(b"\0\0\0\x20ftypheic") == "unknown"
    assert refused(b"<svg xmlns='http://www.w3.org/2000/svg'/>") == "unknown"


def test_pixels_are_bounded_by_the_header() -> None:
    data = image_file("PNG", Image.new("RGB", (50, 50)))
    assert refused(data, limits=MediaLimits(pixels=2499)) == "pixels"
    assert pixels_of(data, limits=MediaLimits(pixels=2500)).shape == (50, 50, 3)


def test_siglip_takes_the_whole_image_and_its_crops() -> None:
    data = image_file("PNG", Image.fromarray(picture(300, 900)))
    job = Job(read="image", family="siglip", pan_and_scan=True)
    found = read(data, job, LIMITS)
    assert isinstance(found, SiglipImages)
    assert found.pixels.shape == (4, 896, 896, 3)
    assert found.pixels.dtype == np.float32
    assert -1 <= found.pixels.min() < 0 < found.pixels.max() <= 1
