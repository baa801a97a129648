"""Keys: what is kept of them, where they come from, and what is said of those that are wrong."""

import hmac
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.guard import keys as module
from service.guard.key_sources import (
    MAX_FILE_BYTES,
    add_to_file,
    keys_in_file,
    keys_in_variable,
    line_of,
)
from service.guard.keys import MAX_KEY_BYTES, MAX_KEYS, BadKeys, Key, KeyRing, digest_of, new_key
from service.guard.limits import Limits

SECRET = "s3cret-s3cret-s3cret"
DIGEST = digest_of(SECRET.encode()).hex()


def test_new_keys_differ_and_fit_a_header_and_the_variable() -> None:
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    for key in made:
        assert key.startswith("plx-")
        assert keys_in_variable(f"alice={key}")[0].digest == digest_of(key.encode())


def test_every_key_is_compared_in_constant_time_whichever_it_is(monkeypatch) -> None:
    compared: list[bytes] = []

    compare = hmac.compare_digest

    def noting(mine: bytes, theirs: bytes) -> bool:
        compared.append(mine)
        return compare(mine, theirs)

    monkeypatch.setattr(module.hmac, "compare_digest", noting)
    ring = KeyRing(Key(f"k{i}", digest_of(f"key-{i}".encode())) for i in range(3))
    for presented, name in ((b"key-0", "k0"), (b"key-2", "k2"), (b"other", None), (b"", None)):
        compared.clear()
        found = ring.find(presented)
        assert (found.name if found else None) == name
        assert compared == [key.digest for key in ring.keys]


def test_a_key_longer_than_any_is_not_even_hashed(monkeypatch) -> None:
    monkeypatch.setattr(module, "digest_of", lambda key: pytest.fail("it was hashed"))
    assert KeyRing([]).find(b"x" * (MAX_KEY_BYTES + 1)) is None


def test_a_key_never_shows_its_hash() -> None:
    assert DIGEST not in repr(Key("alice", bytes.fromhex(DIGEST)))
    assert digest_of(SECRET.encode()).__repr__() not in repr(Key("a", bytes.fromhex(DIGEST)))


def test_names_and_keys_stand_for_one_each() -> None:
    with pytest.raises(BadKeys, match="two keys are named 'a'"):
        KeyRing([Key("a", b"1"), Key("a", b"2")])
    with pytest.raises(BadKeys, match="'a' and 'b' have the same key"):
        KeyRing([Key("a", b"1"), Key("b", b"1")])
    with pytest.raises(BadKeys, match="at most"):
        KeyRing(Key(f"k{i}", str(i).encode()) for i in range(MAX_KEYS + 1))


def test_the_variable_lists_keys_with_and_without_names() -> None:
    found = keys_in_variable(f" {SECRET}1 , bob={SECRET}2=, ,,{SECRET}3")
    assert [key.name for key in found] == ["key1", "bob", "key3"]
    assert found[1].digest == digest_of(f"{SECRET}2=".encode())
    assert keys_in_variable("") == keys_in_variable(" , ,") == []


@pytest.mark.parametrize(
    "text",
    ["short", f"bo b={SECRET}", f"={SECRET}", f"bob={SECRET} x", f"bob={SECRET}é", "x" * 600],
)
def test_a_bad_key_of_the_variable_is_named_by_its_place_and_not_shown(text: str) -> None:
    with pytest.raises(BadKeys, match="API key 2") as refused:
        keys_in_variable(f"{SECRET}0,{text}")
    assert text not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_file_of_keys_is_read_with_its_limits(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_text(
        "# who may come in\n\n"
        f'{{"name": "alice", "sha256": "{DIGEST}", "requests_per_minute": 60}}\n'
        f'{{"name": "bob", "sha256": "{"0" * 64}", "tokens_per_minute": 5,'
        ' "concurrent_sequences": 17}'
    )
    alice, bob = keys_in_file(file)
    assert alice == Key("alice", bytes.fromhex(DIGEST), Limits(requests_per_minute=60))
    assert bob.limits == Limits(tokens_per_minute=5, concurrent_sequences=17)


@pytest.mark.parametrize(
    "line",
    [
        SECRET,
        "[]",
        '{"name": "a"}',
        f'{{"name": "a", "sha256": "{SECRET}"}}',
        f'{{"name": "a", "sha256": "{DIGEST}", "{SECRET}": 1}}',
        f'{{"name": "a b", "sha256": "{DIGEST}"}}',
        f'{{"name": "a\\n", "sha256": "{DIGEST}"}}',
        f'{{"name": "a", "sha256": "{DIGEST}\\n"}}',
        f'{{"name": "{"a" * 65}", "sha256": "{DIGEST}"}}',
        f'{{"name": "a", "sha256": "{DIGEST}", "requests_per_minute": 0}}',
        f'{{"name": "a", "sha256": "{DIGEST}", "tokens_per_minute": true}}',
        f'{{"name": "a", "sha256": "{DIGEST}", "concurrent_sequences": 1e99}}',
        "\xff",
        "[" * 100_000,
    ],
)
def test_a_bad_line_is_named_by_its_number_and_not_shown(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys.jsonl"
    file.write_bytes(f"# one\n{line}\n".encode("latin-1"))
    with pytest.raises(BadKeys, match="line 2") as refused:
        keys_in_file(file)
    assert SECRET not in str(refused.value)
    assert DIGEST not in str(refused.value)


def test_a_file_that_is_missing_or_huge_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match=r"cannot read .*none: No such file"):
        keys_in_file(tmp_path / "none")
    (tmp_path / "huge").write_bytes(b"\n" * (MAX_FILE_BYTES + 1))
    with pytest.raises(BadKeys, match="larger than"):
        keys_in_file(tmp_path / "huge")


def test_adding_a_key_makes_a_private_file_and_keeps_what_is_in_one(tmp_path: Path) -> None:
    file = tmp_path / "keys.jsonl"
    add_to_file(file, Key("alice", b"a" * 32))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with file.open("a") as half:
        half.write("# without an end of line")
    add_to_file(file, Key("bob", b"b" * 32, Limits(tokens_per_minute=7)))
    assert [key.name for key in keys_in_file(file)] == ["alice", "bob"]
    with pytest.raises(BadKeys, match="named 'bob' already"):
        add_to_file(file, Key("bob", b"c" * 32))
    with pytest.raises(BadKeys, match="cannot write"):
        add_to_file(tmp_path / "no" / "folder", Key("bob", b"c" * 32))
    assert len(keys_in_file(file)) == 2


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True),
    st.binary(min_size=32, max_size=32),
    st.tuples(*[st.none() | st.integers(1, 10**12)] * 3),
)
def test_a_line_that_is_written_is_read_as_the_same_key(tmp_path_factory, name, digest, limits):
    key = Key(name, digest, Limits(*limits))
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(line_of(key))
    assert keys_in_file(file) == [key]
    assert None not in json.loads(line_of(key)).values()
