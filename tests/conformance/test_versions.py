"""The versions that the documentation names are those that the tests run."""

import json
import re
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = dict(
    re.findall(
        r"(?m)^\| `([^`]+)` for (?:Python|JavaScript) \| ([0-9.]+) \|",
        (ROOT / "docs" / "api.md").read_text().replace("`openai` for J", "`openai js` for J"),
    )
)


def test_python_clients_are_the_pinned_ones() -> None:
    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for name in ("openai", "google-genai"):
        assert NAMED[name] == pinned[name] == version(name)


def test_javascript_clients_are_pinned_exactly() -> None:
    package = json.loads((Path(__file__).parent / "javascript" / "package.json").read_text())
    pinned = package["dependencies"]
    assert pinned["openai"] == NAMED["openai js"]
    assert pinned["@google/genai"] == NAMED["@google/genai"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
