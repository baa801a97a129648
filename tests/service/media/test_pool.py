"""The decoding processes: real ones, really killed, stopped and starved."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from model.media.limits import MediaLimits
from model.media.reading import read
from model.media.records import DecodedAudio, DecodedImage, DecodedVideo, ImagePatches, Job
from model.records import InvalidParameter
from service.errors import ApiError
from service.media.limits import Allowance
from service.media.pool import DecodingPool
from service.media.process import Decoder, Terms
from service.settings import Settings
from tests.model.media.samples import every_format, image_file, picture

TERMS = Terms(memory=512 * 1024**2, max_bytes=8 * 1024**2, seconds=20.0)
IMAGE = Job(read="image")


@pytest.fixture
async def pool() -> AsyncIterator[DecodingPool]:
    pool = DecodingPool(TERMS, MediaLimits(), workers=1)
    yield pool
    await pool.close()


async def pixels_of(pool: DecodingPool, data: bytes) -> np.ndarray:
    media = await pool.decode(data, IMAGE)
    assert isinstance(media.content, DecodedImage)
    return media.content.pixels


async def refused(pool: DecodingPool, data: bytes, job: Job = IMAGE) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await pool.decode(data, job, "contents[0]")
    return caught.value


async def test_every_format_comes_out_of_the_process_as_it_does_here(pool: DecodingPool) -> None:
    for name, (data, what, mime) in every_format().items():
        job = Job(read=what, mime=mime)
        found = (await pool.decode(data, job)).content
        here = read(data, job, MediaLimits())
        assert type(found) is type(here), name
        for field in here.__struct_fields__:
            assert np.array_equal(getattr(found, field), getattr(here, field)), name
    assert len(pool.pids) == 1


async def test_prepared_patches_travel_with_their_positions(pool: DecodingPool) -> None:
    job = Job(read="image", family="gemma4_unified", soft_tokens=70)
    found = (await pool.decode(image_file("PNG"), job)).content
    assert isinstance(found, ImagePatches)
    assert found.patches.shape == (len(found.positions), 6912)
    assert (found.height, found.width) == (40, 60)


async def test_no_process_runs_before_the_first_item(pool: DecodingPool) -> None:
    assert pool.pids == []


async def test_a_killed_process_fails_its_item_and_is_replaced(pool: DecodingPool) -> None:
    await pixels_of(pool, image_file("PNG"))
    (first,) = pool.pids
    os.kill(first, signal.SIGSEGV)
    error = await refused(pool, image_file("PNG"))
    assert (error.status, error.param, error.code) == (400, "contents[0]", "media_unreadable")
    assert (await pixels_of(pool, image_file("PNG"))).shape == (40, 60, 3)
    assert pool.pids != [first]


async def test_a_process_that_the_system_kills_took_too_much_memory(pool: DecodingPool) -> None:
    await pixels_of(pool, image_file("PNG"))
    os.kill(pool.pids[0], signal.SIGKILL)
    assert (await refused(pool, image_file("PNG"))).code == "media_memory"


async def test_a_process_that_hangs_is_killed_at_the_deadline_and_replaced() -> None:
    pool = DecodingPool(replace(TERMS, seconds=1.0), MediaLimits(), workers=1)
    await pixels_of(pool, image_file("PNG"))
    os.kill(pool.pids[0], signal.SIGSTOP)
    error = await refused(pool, image_file("PNG"))
    assert (error.status, error.code) == (400, "media_time")
    assert (await pixels_of(pool, image_file("PNG"))).shape == (40, 60, 3)
    await pool.close()


async def test_memory_is_bounded_by_the_system() -> None:
    pool = DecodingPool(replace(TERMS, memory=64 * 1024**2), MediaLimits(), workers=1)
    large = image_file("PNG", Image.new("RGB", (6000, 6000)))
    assert (await refused(pool, large)).code == "media_memory"
    assert (await pixels_of(pool, image_file("PNG"))).shape == (40, 60, 3)
    await pool.close()


def test_the_system_bounds_processor_memory_and_files() -> None:
    decoder = Decoder(replace(TERMS, seconds=30.0))
    assert decoder.decode(image_file("PNG"), IMAGE, MediaLimits())
    soft = Path(f"/proc/{decoder.pid}/limits").read_text()
    decoder.close()
    rows = {line[:25].strip(): line[25:].split()[:2] for line in soft.splitlines()}
    assert 30 < int(rows["Max cpu time"][0]) <= 33
    assert rows["Max core file size"] == ["0", "0"]
    assert rows["Max file size"] == ["0", "0"]
    assert rows["Max open files"] == ["3", "3"]
    assert rows["Max address space"][0] != "unlimited"


async def test_the_process_sees_no_variable_of_the_server(
    pool: DecodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLLUX_API_KEYS", "a-secret")
    await pixels_of(pool, image_file("PNG"))
    environment = await asyncio.to_thread(Path(f"/proc/{pool.pids[0]}/environ").read_bytes)
    assert b"a-secret" not in environment


async def test_an_abandoned_item_ends_its_process_and_frees_its_turn(pool: DecodingPool) -> None:
    await pixels_of(pool, image_file("PNG"))
    os.kill(pool.pids[0], signal.SIGSTOP)
    waiting = asyncio.create_task(pool.decode(image_file("PNG"), IMAGE))
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (await pixels_of(pool, image_file("PNG"))).shape == (40, 60, 3)
    assert len(pool.pids) == 1


async def test_many_items_at_once_share_the_processes() -> None:
    pool = DecodingPool(TERMS, MediaLimits(), workers=2)
    files = [image_file("PNG", Image.fromarray(picture(20 + i, 30))) for i in range(12)]
    found = await asyncio.gather(*(pixels_of(pool, data) for data in files))
    assert [pixels.shape[0] for pixels in found] == list(range(20, 32))
    assert 1 <= len(pool.pids) <= 2
    await pool.close()


async def test_closing_ends_all_processes_and_refuses_more(pool: DecodingPool) -> None:
    await pixels_of(pool, image_file("PNG"))
    (pid,) = pool.pids
    await pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert (await refused(pool, image_file("PNG"))).kind == "unavailable"


async def test_a_worn_process_is_replaced_by_a_fresh_one(
    pool: DecodingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.media.process.ITEMS_PER_PROCESS", 2)
    await pixels_of(pool, image_file("PNG"))
    (first,) = pool.pids
    await pixels_of(pool, image_file("PNG"))
    await pixels_of(pool, image_file("PNG"))
    assert pool.pids != [first]


async def test_a_result_above_its_bound_never_enters_the_gateway() -> None:
    pool = DecodingPool(TERMS, MediaLimits(result_bytes=1000), workers=1)
    assert (await refused(pool, image_file("PNG"))).code == "media_result"
    await pool.close()


async def test_an_item_above_its_bound_is_refused_before_any_process(pool: DecodingPool) -> None:
    error = await refused(pool, bytes(TERMS.max_bytes + 1))
    assert error.status == 413
    assert pool.pids == []


async def test_a_job_that_makes_no_sense_is_refused(pool: DecodingPool) -> None:
    with pytest.raises(InvalidParameter):
        await pool.decode(image_file("PNG"), Job(read="image", soft_tokens=71))
    with pytest.raises(InvalidParameter):
        await pool.decode(image_file("PNG"), Job(read="audio", family="siglip"))


async def test_equal_bytes_have_equal_names_and_every_difference_shows(pool: DecodingPool) -> None:
    data = image_file("PNG")
    jobs = [
        IMAGE,
        msgspec.structs.replace(IMAGE, family="gemma4_unified"),
        msgspec.structs.replace(IMAGE, family="gemma4_unified", soft_tokens=70),
        msgspec.structs.replace(IMAGE, family="siglip"),
        msgspec.structs.replace(IMAGE, family="siglip", pan_and_scan=True),
    ]
    names = {(await pool.decode(data, job)).digest for job in jobs}
    assert len(names) == len(jobs)
    assert (await pool.decode(data, IMAGE)).digest in names
    other = image_file("PNG", Image.fromarray(picture().transpose(1, 0, 2)))
    assert (await pool.decode(other, IMAGE)).digest not in names


async def test_raw_samples_of_another_rate_are_other_content(pool: DecodingPool) -> None:
    data = bytes(32_000)
    found = [
        await pool.decode(data, Job(read="audio", mime=f"audio/pcm;rate={rate}"))
        for rate in (16_000, 8_000)
    ]
    assert [len(each.content.samples) for each in found if isinstance(each.content, DecodedAudio)]
    assert found[0].digest != found[1].digest


async def test_a_pool_is_made_of_the_settings() -> None:
    settings = Settings(max_image_pixels=100, decode_workers=1)
    pool = DecodingPool.of(settings)
    error = await refused(pool, image_file("PNG"))
    assert (error.code, str(error)) == ("media_pixels", "an image may have 100 pixels")
    await pool.close()


async def test_frames_of_a_video_are_bounded_by_the_settings() -> None:
    data, what, mime = every_format()["MP4"]
    pool = DecodingPool.of(Settings(max_video_frames=5, decode_workers=1))
    found = (await pool.decode(data, Job(read=what, mime=mime, frames=50))).content
    assert isinstance(found, DecodedVideo)
    assert len(found.frames) == 5
    await pool.close()


def test_a_request_may_bring_so_many_items_and_bytes() -> None:
    allowance = Allowance(item_bytes=10, request_bytes=25, items=3)
    allowance.take(10)
    with pytest.raises(ApiError) as large:
        allowance.take(11)
    assert large.value.status == 413
    allowance = Allowance(item_bytes=10, request_bytes=15, items=3)
    allowance.take(10)
    assert allowance.next_bytes == 5
    with pytest.raises(ApiError, match="15 bytes together"):
        allowance.take(6)
    allowance = Allowance(item_bytes=10, request_bytes=25, items=1)
    allowance.take(1)
    with pytest.raises(ApiError, match="1 image"):
        allowance.take(1)


def test_arrays_outlive_their_process() -> None:
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    decoder = Decoder(TERMS)
    first = decoder.decode(out.getvalue(), IMAGE, MediaLimits())
    assert isinstance(first, DecodedImage)
    decoder.close()
    assert first.pixels.sum() == 0
