"""Pollux as its users run it: `pollux serve`."""

import sys
from collections.abc import Mapping, Sequence

from benchmarks.client import Api
from benchmarks.systems.process import Server, free_port
from benchmarks.systems.served import Served

NAME = "Pollux"

# The code beside this benchmark, installed or not.
_COMMAND = (sys.executable, "-c", "from service.cli import main; main()", "serve")


def served(model: str, api: Api, options: Mapping[str, str | None], more: Sequence[str]) -> Served:
    """options: flags by name, left out where None. more: flags as they are."""
    flags = [part for name, value in options.items() if value for part in (f"--{name}", value)]

    def make(*, long: bool) -> Server:
        port = free_port()
        command = [*_COMMAND, "--model", model, "--port", str(port), "--log-level", "warning"]
        command += [*flags, *more]
        return Server(command, {}, f"http://127.0.0.1:{port}", "/readyz")

    return Served(NAME, model, api, make)
