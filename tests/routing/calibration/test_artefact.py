"""calibration.json: what was written is what is read, and nothing else is."""

import datetime
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from routing.calibration.adopted import artefact
from routing.calibration.artefact import (
    MAX_BYTES,
    Artefact,
    BadArtefact,
    encode,
    load,
    refusals,
)
from routing.calibration.setup import Setup
from routing.calibration.study import Aims, study
from tests.routing.calibration.recorded import record

SETUP = Setup(
    model="tiny",
    weights="ab" * 32,
    quantization="Q8_0",
    dtype="float32",
    template="cd" * 32,
    answer={"type": "number"},
    temperature=0.7,
    top_p=0.95,
    path_tokens=256,
    direct_tokens=32,
)
NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def made() -> Artefact:
    return artefact(study(record(80, 8), Aims(k=8, min_votes=5)), SETUP, NOW)


def test_what_was_written_is_read_back(made: Artefact, tmp_path: Path) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(encode(made))
    assert load(file) == made
    assert load(str(file)).setup == SETUP


def test_it_holds_what_was_calibrated(made: Artefact) -> None:
    assert (made.k, made.min_votes, made.tau, made.k_max) == (8, 5, "4/8", 8)
    assert made.created == "2026-01-02T03:04:05Z"
    assert sum(made.consensus) == sum(made.consensus_k_max) == made.questions == 80
    assert made.guarantee is not None
    assert made.guarantee.statement.startswith("Under i.i.d. traffic")
    assert made.guarantee.confidence == 0.95
    assert len(made.id) == 12


def test_an_always_greedy_calibration_promises_nothing_and_is_readable(tmp_path: Path) -> None:
    made = artefact(study(record(30, 4), Aims(k=4, min_votes=5)), SETUP, NOW)
    assert made.guarantee is None
    assert made.tau == "4/4"
    (tmp_path / "c").write_bytes(encode(made))
    assert load(tmp_path / "c") == made


def test_the_id_changes_with_the_content(made: Artefact) -> None:
    other = artefact(study(record(80, 8), Aims(k=8, min_votes=6)), SETUP, NOW)
    assert other.id != made.id


def edited(made: Artefact, **changes: Any) -> bytes:
    return json.dumps({**json.loads(encode(made)), **changes}).encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 9}, "does not match its id"),
        ({"version": 2}, "version 2; known is 1"),
        ({"min_votes": 0}, "no calibration"),
        ({"surprise": 1}, "no calibration"),
        ({"consensus": [-1]}, "no calibration"),
        ({"id": "0" * 12}, "does not match its id"),
    ],
)
def test_an_edited_file_is_refused(
    made: Artefact, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(edited(made, **changes))
    with pytest.raises(BadArtefact, match=message) as error:
        load(file)
    assert "\n" not in str(error.value)


def test_numbers_that_do_not_fit_together_are_refused_even_under_a_right_id(
    made: Artefact, tmp_path: Path
) -> None:
    import hashlib

    wrong = msgspec.structs.replace(made, tau="7/8", id="")
    digest = hashlib.sha256(msgspec.json.encode(wrong, order="deterministic")).hexdigest()
    file = tmp_path / "c.json"
    file.write_bytes(encode(msgspec.structs.replace(wrong, id=digest[:12])))
    with pytest.raises(BadArtefact, match="do not fit together"):
        load(file)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"version": 1}', b"\xff", b"[" * 200_000, b" " * (MAX_BYTES + 1)],
)
def test_what_is_no_calibration_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.json"
    file.write_bytes(content)
    with pytest.raises(BadArtefact) as error:
        load(file)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BadArtefact):
            load(path)


def test_another_setup_is_refused_line_by_line_but_another_name_is_not(made: Artefact) -> None:
    assert refusals(made, msgspec.structs.replace(SETUP, model="renamed")) == []
    lines = refusals(made, msgspec.structs.replace(SETUP, temperature=1.0, dtype="bfloat16"))
    assert lines == ["dtype: bfloat16 here, float32 there", "temperature: 1.0 here, 0.7 there"]
