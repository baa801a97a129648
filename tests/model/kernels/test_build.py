"""Where kernels come from when there is a compiler, and what happens when there is none."""

import ctypes
import logging
import threading
from pathlib import Path

import pytest

from model.checkpoints import open_checkpoint
from model.engine.config import EngineConfig
from model.engine.runner import JaxRunner
from model.kernels import library
from model.kernels.build import CannotBuild, build

COUNTING = """#!/bin/sh
if [ "$1" = --version ]; then echo "pretence 1.0"; exit 0; fi
echo run >> {log}
sleep 0.3
while [ "$1" != -o ]; do shift; done
echo made > "$2"
"""
FAILING = """#!/bin/sh
if [ "$1" = --version ]; then echo "pretence 1.0"; exit 0; fi
echo "kernels.cc:1:1: fatal error: no such machine" >&2
exit 1
"""


@pytest.fixture
def fresh_process(monkeypatch) -> None:
    """As if nothing had been loaded yet."""
    monkeypatch.setattr(library, "_process", library._Process())


def compiler(folder: Path, text: str) -> str:
    path = folder / "compiler"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_builds_at_the_same_time_compile_once(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setenv("CXX", compiler(tmp_path, COUNTING.format(log=log)))
    built: list[Path] = []
    threads = [
        threading.Thread(target=lambda: built.append(build(tmp_path / "cache"))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.read_text() == "run\n"
    assert len(built) == 4
    assert len(set(built)) == 1
    assert built[0].read_text() == "made\n"
    assert build(tmp_path / "cache") == built[0]
    assert log.read_text() == "run\n"


def test_another_compiler_makes_another_library(tmp_path, monkeypatch):
    log = tmp_path / "log"
    text = COUNTING.format(log=log)
    monkeypatch.setenv("CXX", compiler(tmp_path, text))
    first = build(tmp_path / "cache")
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setenv("CXX", compiler(other, text.replace("1.0", "2.0")))
    assert build(tmp_path / "cache") != first


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", compiler(tmp_path, FAILING))
    with pytest.raises(CannotBuild, match="no such machine"):
        build(tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"] == []


def test_without_a_compiler_the_engine_runs_in_plain_jax_and_says_so_once(
    tmp_path, monkeypatch, caplog, parity_fixtures, fresh_process
):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    config = EngineConfig(
        dtype="float32",
        max_rows=1,
        kv_bytes=2**22,
        kernels="auto",
        kernel_cache=tmp_path,
        weights="int8",
    )
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            runner = JaxRunner(open_checkpoint(parity_fixtures / "llama"), config, 32)
    runner.warm_up()
    assert [record.getMessage() for record in caplog.records] == [
        "CPU kernels are off, plain JAX is used: no C++ compiler found (c++, g++, clang++ or $CXX)"
    ]


def test_a_library_that_does_not_load_is_no_kernels(tmp_path, monkeypatch, caplog, fresh_process):
    text = COUNTING.format(log=tmp_path / "log")
    monkeypatch.setenv("CXX", compiler(tmp_path, text))
    with caplog.at_level(logging.WARNING):
        assert library.load_kernels(tmp_path / "cache") is None
    assert "CPU kernels are off" in caplog.text


def test_a_cache_folder_that_cannot_be_written_is_no_kernels(tmp_path, caplog, fresh_process):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with caplog.at_level(logging.WARNING):
        assert library.load_kernels(blocked / "cache") is None
    assert "CPU kernels are off" in caplog.text


def test_what_is_loaded_serves_every_folder(tmp_path):
    loaded = library.load_kernels()
    if loaded is None:
        pytest.skip("no C++ compiler here")
    assert isinstance(loaded, ctypes.CDLL)
    assert library.load_kernels(tmp_path) is loaded
