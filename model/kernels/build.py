"""Compiles the kernels for this machine's CPU, once: the result is kept in a cache folder.

A library's file name says everything it depends on (sources, flags, compiler, CPU, jaxlib), so a
folder shared by different machines holds one library for each, and a stale one is never loaded.
"""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import jax.ffi
import jaxlib.version
from filelock import FileLock

SOURCES = Path(__file__).parent / "src"
_FLAGS = (
    "-std=c++20",
    "-O3",
    "-march=native",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
)
_TIMEOUT_S = 300.0


class CannotBuild(RuntimeError):
    """No compiler, or it refused. One line, for a person."""


def build(folder: Path) -> Path:
    """The library for this machine in `folder`, compiled now unless it is there already.

    Processes that ask at the same time compile once. Raises CannotBuild.
    """
    compiler = find_compiler()
    target = folder / f"kernels-{_key(compiler)}.so"
    if target.exists():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "kernels.lock"):
            if not target.exists():
                _compile(compiler, target)
    except OSError as error:
        raise CannotBuild(f"{folder}: {error.strerror or error}") from None
    return target


def find_compiler() -> str:
    """The C++ compiler in $CXX or on the path. Raises CannotBuild."""
    for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++"):
        path = shutil.which(name) if name else None
        if path is not None:
            return path
    raise CannotBuild("no C++ compiler found (c++, g++, clang++ or $CXX)")


def _compile(compiler: str, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        output = Path(scratch) / target.name
        command = [compiler, *_FLAGS, f"-I{jax.ffi.include_dir()}", f"-I{SOURCES}"]
        command += [str(SOURCES / "kernels.cc"), "-o", str(output)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise CannotBuild(f"{compiler} took longer than {_TIMEOUT_S:.0f} s") from None
        if done.returncode != 0:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise CannotBuild(f"{compiler} failed: {errors[0] if errors else 'no reason given'}")
        output.replace(target)


@cache
def _key(compiler: str) -> str:
    digest = hashlib.sha256()
    for source in sorted(SOURCES.iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    try:
        version = subprocess.run(
            [compiler, "--version"], capture_output=True, text=True, timeout=30, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        raise CannotBuild(f"{compiler} does not run") from None
    parts = (*_FLAGS, compiler, version, platform.machine(), _cpu(), jaxlib.version.__version__)
    digest.update("\0".join(parts).encode())
    return digest.hexdigest()[:20]


def _cpu() -> str:
    """What -march=native looks at: the CPU's model and instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU part")
    seen: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in wanted:
            seen.setdefault(name.strip(), value.strip())
    return repr(sorted(seen.items()))
