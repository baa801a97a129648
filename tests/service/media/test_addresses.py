"""The grammar of media addresses, and which ones are public."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ApiError
from service.media.addresses import Allowlist, Target, is_public, parse_redirect, parse_url
from service.settings import Settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org", Target("https", "example.org", 443, "/")),
        ("HTTP://Example.ORG:8080/a/b?c=d#e", Target("http", "example.org", 8080, "/a/b?c=d")),
        ("https://example.org./a", Target("https", "example.org", 443, "/a")),
        ("http://93.184.216.34/", Target("http", "93.184.216.34", 80, "/")),
        ("http://[2606:2800::1]:81/", Target("http", "2606:2800::1", 81, "/")),
        ("https://xn--bcher-kva.example/", Target("https", "xn--bcher-kva.example", 443, "/")),
        ("https://example.org/a?u=http://b/", Target("https", "example.org", 443, "/a?u=http://b/")),
    ],
)  # fmt: skip
def test_a_plain_address_is_taken_apart(url: str, expected: Target) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/", "gopher://example.org/", "data:image/png,x",
        "//example.org/", "example.org", "", "https://", "https:///a", "https:example.org",
        "https://user@example.org/", "https://user:pass@example.org/",
        "https://example.org@127.0.0.1/", "https://127.0.0.1#@example.org/",
        "https://example.org\\@127.0.0.1/", "https:\\\\example.org\\", "https://example.org\\.evil/",
        "https://exa mple.org/", " https://example.org/", "https://example.org/\n",
        "https://example.org\t/", "https://example.org/a\r\nHost: evil", "https://example.org/\x00",
        "https://bücher.example/", "https://example。org/", "https://①②⑦.0.0.1/",
        "https://%31%32%37.0.0.1/", "https://example.org:0/", "https://example.org:99999/",
        "https://example.org:+80/", "https://example.org:/", "https://-a.example/", "https://a..b/",
        "https://.example/", "https://[::1%25eth0]/", "https://[::1", "https://[1.2.3.4]/",
        "https://[::ffff:1.2.3.4.5]/", "https://2130706433/", "https://0x7f000001/",
        "https://0x7f.1/", "https://127.1/", "https://0177.0.0.1/", "https://127.0.0.01/",
        "https://1.2.3.4.5/", "https://127.0.0.0x1/", "https://example.0x7f/", "https://0/",
        "https://" + "a" * 64 + ".example/", "https://example.org/" + "a" * 3000,
    ],
)  # fmt: skip
def test_what_the_grammar_does_not_know_is_refused(url: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_url(url, "image_url")
    assert (caught.value.status, caught.value.param) == (400, "image_url")


@given(st.text(alphabet="htps:/\\@#?[]%.-_:01xazü \t", max_size=60))
def test_no_text_passes_the_grammar_with_a_host_of_another_kind(tail: str) -> None:
    try:
        target = parse_url("http://" + tail)
    except ApiError:
        return
    host = target.host
    if ":" in host or host.rpartition(".")[2].isdigit():
        assert str(ipaddress.ip_address(host)) == host
    assert not set(host) & set("@#?[]%\\/ \tü")
    assert target.target.startswith("/")


def test_a_redirect_leads_to_a_path_or_a_whole_address() -> None:
    base = parse_url("https://example.org:8443/a")
    assert parse_redirect("/b?c", base) == Target("https", "example.org", 8443, "/b?c")
    assert parse_redirect("https://other.example/", base).host == "other.example"
    for bad in (
        "http://example.org/",
        "//evil.example/",
        "b",
        "\\\\evil",
        "file:///etc/passwd",
        "",
    ):
        with pytest.raises(ApiError):
            parse_redirect(bad, base)


PRIVATE = [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.255",
    "169.254.169.254",
    "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1",
    "255.255.255.255",
    "::", "::1", "::ffff:127.0.0.1", "::ffff:93.184.216.34", "::127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::5db8:d822", "64:ff9b:1::1", "100::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%1",
    "fec0::1", "ff02::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::1",
    "2002:5db8:d822::1", "2001:10::1", "2001:20::1", "3fff::1", "5f00::1", "4000::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_or_special_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:2800:220:1::1", "2a00:1450::1"]
)
def test_an_address_of_the_open_network_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.ip_addresses(v=4))
def test_no_form_of_an_address_is_public_in_six_when_it_holds_a_private_one(
    address: ipaddress.IPv4Address,
) -> None:
    number = int(address)
    for prefix, shift in ((0xFFFF << 32, 0), (0, 0), (0x64FF9B << 96, 0), (0x2002 << 112, 80)):
        assert not is_public(ipaddress.IPv6Address(prefix | number << shift))


@pytest.mark.parametrize(
    ("written", "url", "admitted"),
    [
        ("example.org", "https://example.org/", True),
        ("example.org", "http://EXAMPLE.org./", True),
        ("example.org", "https://www.example.org/", False),
        ("example.org", "https://example.org.evil.test/", False),
        ("example.org", "https://example.org:8443/", False),
        ("example.org:8443", "https://example.org:8443/", True),
        ("example.org:8443", "https://example.org/", False),
        ("*.example.org", "https://a.b.example.org/", True),
        ("*.example.org", "https://example.org/", False),
        ("*.example.org", "https://badexample.org/", False),
        ("*", "https://anything.test/", True),
        ("*", "https://anything.test:22/", False),
        ("a.test, b.test", "https://b.test/", True),
        ("", "https://b.test/", False),
    ],
)
def test_only_listed_hosts_are_admitted(written: str, url: str, admitted: bool) -> None:
    assert Allowlist(written).admits(parse_url(url)) is admitted


@pytest.mark.parametrize("written", ["https://a.test", "a.*", "*a", "**", "a b", "a.test:x", "*.*"])
def test_a_list_that_is_none_is_refused_at_the_start(written: str) -> None:
    with pytest.raises(ValueError):
        Settings(media_urls=written)
