"""Uploads that begin: at once, and given up."""

import asyncio
from pathlib import Path

import pytest

from service.errors import ApiError
from tests.service.files.support import names_in, stores, wanted


@pytest.fixture
async def store_in():
    """Stores that end with the test, their uploads as well."""
    async with stores() as make:
        yield make


async def test_of_two_that_begin_a_name_at_once_one_gets_it(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    begun = await asyncio.gather(
        *(store.begin("ann", wanted(id="same")) for _ in range(3)), return_exceptions=True
    )
    refused = [one for one in begun if isinstance(one, ApiError)]
    assert [one.kind for one in refused] == ["conflict"] * 2
    assert len(store.uploads) == 1


async def test_who_gives_up_while_an_upload_begins_leaves_no_file(tmp_path: Path, store_in) -> None:
    store = store_in(tmp_path)
    beginning = asyncio.create_task(store.begin("ann", wanted(size=5)))
    await asyncio.sleep(0)
    beginning.cancel()
    await asyncio.wait({beginning})
    assert beginning.cancelled()
    assert not names_in(tmp_path)
    assert not store.uploads
    assert (store.quota.files, store.quota.bytes) == (0, 0)
