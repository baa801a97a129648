"""Files and cached contents through the unmodified google-genai client."""

import io

import pytest
from google.genai import errors, types

from tests.conformance.server import MODEL

TEXT = b"city,people\nParis,2\n"
LARGE = b"0123456789abcdef\n" * 520_000
"""More than the 8 MiB that the client sends in one chunk."""

pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


def upload(gemini, content: bytes = TEXT, **config):
    config = {"mime_type": "text/csv", "display_name": "cities", **config}
    return gemini.files.upload(file=io.BytesIO(content), config=config)


def test_an_uploaded_file_is_described_listed_and_downloaded(gemini) -> None:
    file = upload(gemini)
    assert file.name.startswith("files/")
    assert (file.display_name, file.mime_type, file.size_bytes) == ("cities", "text/csv", 20)
    assert file.state is types.FileState.ACTIVE
    assert file.source is types.FileSource.UPLOADED
    assert file.sha256_hash
    assert file.uri
    assert file.expiration_time > file.create_time
    assert gemini.files.get(name=file.name).name == file.name
    assert file.name in [each.name for each in gemini.files.list(config={"page_size": 1})]
    assert gemini.files.download(file=file.name) == TEXT
    gemini.files.delete(name=file.name)


def test_a_file_of_several_chunks_arrives_whole(gemini) -> None:
    file = upload(gemini, LARGE, mime_type="text/plain")
    assert file.size_bytes == len(LARGE)
    assert gemini.files.download(file=file) == LARGE
    gemini.files.delete(name=file.name)


def test_a_file_and_inline_bytes_are_parts_of_a_prompt(gemini) -> None:
    file = upload(gemini)

    def tokens(*contents) -> int:
        reply = gemini.models.generate_content(
            model=MODEL, contents=list(contents), config={"max_output_tokens": 1}
        )
        return reply.usage_metadata.prompt_token_count

    inline = types.Part.from_bytes(data=TEXT, mime_type="text/csv")
    assert tokens("What?", file) == tokens("What?", inline) > tokens("What?")
    gemini.files.delete(name=file.name)


def test_a_deleted_file_is_not_found(gemini) -> None:
    file = upload(gemini)
    gemini.files.delete(name=file.name)
    for call in (gemini.files.get, gemini.files.delete):
        with pytest.raises(errors.ClientError) as caught:
            call(name=file.name)
        assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")


def test_cached_contents_are_made_used_changed_listed_and_deleted(gemini) -> None:
    cache = gemini.caches.create(
        model=MODEL,
        config={
            "contents": "Ada keeps the lighthouse. " * 20,
            "system_instruction": "Be brief.",
            "display_name": "book",
            "ttl": "300s",
        },
    )
    assert cache.name.startswith("cachedContents/")
    assert cache.display_name == "book"
    assert cache.usage_metadata.total_token_count > 0
    reply = gemini.models.generate_content(
        model=MODEL,
        contents="Who?",
        config={"cached_content": cache.name, "max_output_tokens": 2},
    )
    assert reply.usage_metadata.prompt_token_count > cache.usage_metadata.total_token_count
    later = gemini.caches.update(name=cache.name, config={"ttl": "600s"})
    assert later.expire_time > cache.expire_time
    assert gemini.caches.get(name=cache.name).expire_time == later.expire_time
    assert cache.name in [each.name for each in gemini.caches.list()]
    gemini.caches.delete(name=cache.name)
    with pytest.raises(errors.ClientError) as caught:
        gemini.models.generate_content(
            model=MODEL, contents="Who?", config={"cached_content": cache.name}
        )
    assert caught.value.code == 403
