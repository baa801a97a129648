"""What a prompt refers to: addresses elsewhere, and content inside the request."""

import base64
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ApiError
from service.files.inline import base64_bytes, parse_data_url
from service.files.resolver import Remote, Resolver
from service.files.store import open_store
from service.media.addresses import Allowlist
from service.media.fetch import Fetcher
from service.settings import Settings
from tests.service.media.test_fetch import Server, names, reply, served


async def test_an_address_is_read_only_where_a_fetcher_is_given() -> None:
    store = open_store(Settings())
    answered = reply(body=b"bytes", Content_Type="image/png")
    async with served(Server(lambda path: answered)) as server:
        url = f"http://media.test:{server.port}/"
        with pytest.raises(ApiError, match="nothing is fetched"):
            await Resolver(store, None).load(Remote(url))
        here = ipaddress.ip_address("127.0.0.1")
        fetcher = Fetcher(
            Allowlist(f"media.test:{server.port}"),
            10,
            resolve=names({"media.test": [here]}),
            admits=lambda address: True,
        )
        resolver = Resolver(store, None, fetcher, remote_bytes=5)
        assert resolver.size(Remote(url)) == 5
        found = await resolver.load(Remote(url))
        assert (found.data, found.mime.essence) == (b"bytes", "image/png")
        assert (await resolver.load(Remote(url, "image/webp"))).mime.essence == "image/webp"
        with pytest.raises(ApiError, match="more than 4 bytes"):
            await Resolver(store, None, fetcher, remote_bytes=4).load(Remote(url))
    store.close()


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_a_data_url_gives_its_bytes_in_either_alphabet(data: bytes, safe: bool, pad: bool) -> None:
    written = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    url = "data:image/png;charset=utf-8;base64," + (written if pad else written.rstrip("="))
    found = parse_data_url(url, len(data))
    assert (found.data, found.mime) == (data, "image/png;charset=utf-8")
    if data:
        with pytest.raises(OverflowError):
            parse_data_url(url, len(data) - 1)


@pytest.mark.parametrize(
    "url",
    ["data:,x", "data:image/png,x", "data:image/png;base64", "data:image;base64,", "DATA", "",
     "data:image/png;base64,***", "data:image/png;base64,A", "http://a.test/",
     "data:a/b;c;base64,"],
)  # fmt: skip
def test_what_is_no_data_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_data_url(url, 100)


def test_long_base64_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(OverflowError):
        base64_bytes("*" * 1000, 100)
