"""Multipart bodies in pieces of any size; kinds of content, charsets and base64."""

import base64
import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.attachments import joined
from service.api.files.multipart import MultipartReader, Part
from service.errors import ApiError
from service.files.inline import base64_bytes
from service.files.mime import UNKNOWN, guessed, parse_mime, text_of

KIND = "multipart/form-data; boundary=xyz"

parts_of_a_body = st.lists(
    st.tuples(
        st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=8),
        st.binary(max_size=60).filter(lambda content: b"\r\n--xyz" not in content),
    ),
    max_size=5,
)


def body_of(parts) -> bytes:
    body = b"".join(
        b'--xyz\r\nContent-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n'
        + content + b"\r\n"
        for name, content in parts
    )  # fmt: skip
    return body + b"--xyz--\r\n"


def read(pieces) -> list[tuple[str, bytes]]:
    reader = MultipartReader(KIND, ("multipart/form-data",))
    found: list[tuple[str, bytes]] = []
    for piece in pieces:
        for event in reader.feed(piece):
            if isinstance(event, Part):
                found.append((event.name, b""))
            elif event is not None:
                name, content = found[-1]
                found[-1] = (name, content + event)
    reader.close()
    return found


@given(parts_of_a_body, st.lists(st.integers(0, 400), max_size=8))
def test_a_body_is_read_the_same_however_it_is_cut(parts, cuts) -> None:
    body = body_of(parts)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(edges)]
    assert read(pieces) == parts


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_body_breaks_the_reader(body, cut) -> None:
    for start in (b"", b"--xyz\r\n", b"--xyz\r\nContent-Disposition: form-data\r\n\r\n"):
        with contextlib.suppress(ApiError):
            read([start + body[:cut], body[cut:]])


def test_a_body_that_is_cut_short_is_an_error() -> None:
    body = body_of([("a", b"hello")])
    for end in range(len(body) - 2):
        with pytest.raises(ApiError):
            read([body[:end]])


@pytest.mark.parametrize(
    ("written", "essence", "charset", "is_text"),
    [
        ("text/plain", "text/plain", "utf-8", True),
        ("Text/HTML; Charset=ISO-8859-1", "text/html", "iso-8859-1", True),
        ('text/csv;header=present;charset="utf-16"', "text/csv", "utf-16", True),
        ("application/json", "application/json", "utf-8", True),
        ("application/vnd.api+json", "application/vnd.api+json", "utf-8", True),
        ("image/svg+xml", "image/svg+xml", "utf-8", True),
        ("image/png", "image/png", "utf-8", False),
        ("application/pdf", "application/pdf", "utf-8", False),
    ],
)
def test_a_media_type_is_read(written, essence, charset, is_text) -> None:
    mime = parse_mime(written)
    assert (mime.essence, mime.charset, mime.is_text) == (essence, charset, is_text)


@pytest.mark.parametrize("written", ["", "text", "text/", "/x", "text/plain, x", "te xt/plain", "a/b\n"])  # noqa: E501  # fmt: skip
def test_what_is_no_media_type_is_refused(written) -> None:
    with pytest.raises(ValueError):
        parse_mime(written.replace("\n", "\nx"))


@pytest.mark.parametrize(
    ("mime", "data"),
    [
        ("text/plain", "Grüße".encode()),
        ("text/plain", b"\xef\xbb\xbf" + "Grüße".encode()),
        ("text/plain; charset=iso-8859-1", "Grüße".encode("latin-1")),
        ("text/plain; charset=utf-16", "Grüße".encode("utf-16")),
    ],
)
def test_text_is_read_in_its_charset(mime, data) -> None:
    assert text_of(data, parse_mime(mime), "contents") == "Grüße"


@pytest.mark.parametrize(
    ("mime", "said"),
    [
        ("text/plain", "no utf-8 text: its byte 2"),
        ("text/plain; charset=us-ascii", "no us-ascii text: its byte 2"),
        ("text/plain; charset=klingon", "charset 'klingon'"),
    ],
)
def test_bytes_that_are_no_text_are_refused_by_their_place(mime, said) -> None:
    with pytest.raises(ApiError, match=said):
        text_of("Grüße".encode("latin-1"), parse_mime(mime), "contents")


@pytest.mark.parametrize(
    ("name", "mime"),
    [("a.ts", "text/plain"), ("a.PY", "text/plain"), ("a.html", "text/html"),
     ("a.md", "text/markdown"), ("a.png", "image/png"), ("a.txt.gz", UNKNOWN), ("", UNKNOWN),
     (None, UNKNOWN), ("a.zzz", UNKNOWN)],
)  # fmt: skip
def test_a_kind_is_guessed_by_the_name(name, mime) -> None:
    assert guessed(name) == mime


@given(st.binary(max_size=50), st.booleans(), st.booleans())
def test_base64_of_either_alphabet_is_read_padded_or_not(data, safe, padded) -> None:
    written = (base64.urlsafe_b64encode if safe else base64.b64encode)(data).decode()
    assert base64_bytes(written if padded else written.rstrip("=")) == data


@given(st.text(max_size=20))
def test_other_text_is_no_base64(text) -> None:
    try:
        base64_bytes(text)
    except ValueError:
        return
    assert text.isascii()


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([("a", False), ("b", False)], "ab"),
        ([("a", False), ("F", True), ("b", False)], "a\nF\nb"),
        ([("a\n", False), ("F\n", True), ("b", False)], "a\nF\nb"),
        ([("F", True), ("G", True)], "F\nG"),
        ([("F", True)], "F"),
        ([], ""),
    ],
)
def test_a_files_text_stands_on_lines_of_its_own(pieces, whole) -> None:
    assert joined(pieces) == whole
