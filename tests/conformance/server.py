"""What the official clients are pointed at: `pollux serve` as a process, with a tiny real model."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.guard.key_sources import line_of
from service.guard.keys import Key, digest_of
from service.guard.limits import Limits
from service.tls import self_signed
from tests.model.checkpoints.tiny import tiny_gguf
from tests.service.support import HERMES_TEMPLATE
from tests.whole.processes import Pollux, free_port

MODEL = "tiny"
CONTEXT = 4096
PATIENCE_S = 60.0

LIMITS = {
    "conformance": Limits(),
    # One minute's tokens are less than any answer: after one answer it is in debt for long.
    "indebted": Limits(tokens_per_minute=1),
    "narrow": Limits(concurrent_sequences=1),
}
"""Keys by their names, with what each may do."""


def key_of(name: str) -> str:
    return f"key-of-{name}-for-tests"


def write_checkpoint(folder: Path) -> Path:
    """Random weights, a whole tokenizer, and a chat template that shows tools.

    Its prose is noise, so a test that needs certain words holds the answer to a form.
    """
    tiny = tiny_gguf("llama")
    tiny.fields["llama.context_length"] = CONTEXT
    tiny.fields["tokenizer.chat_template"] = HERMES_TEMPLATE
    return tiny.write(folder / f"{MODEL}.gguf")


def write_keys(folder: Path) -> Path:
    file = folder / "keys.jsonl"
    keys = (Key(name, digest_of(key_of(name).encode()), limits) for name, limits in LIMITS.items())
    file.write_text("".join(f"{line_of(key)}\n" for key in keys))
    return file


@dataclass(frozen=True)
class Server:
    """One that listens and is ready. url: without a path or a slash at its end. certificate: its
    own, if it speaks TLS."""

    url: str
    process: Pollux
    certificate: Path | None = None
    key: str = key_of("conformance")

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = httpx.get(f"{self.url}/metrics", timeout=PATIENCE_S).text.splitlines()
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.startswith((f"{name}{{", f"{name} ")) and all(part in line for part in wanted)
        )

    def wait_for(self, name: str, value: float, **labels: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while self.metric(name, **labels) != value:
            assert time.monotonic() < end, f"{name} never became {value}"
            time.sleep(0.02)

    def wait_idle(self) -> None:
        self.wait_for("pollux:requests_in_flight", 0)
        self.wait_for("pollux:worker_groups", 0)


@contextmanager
def serving(folder: Path, *flags: str, tls: bool = False) -> Iterator[Server]:
    """`pollux serve` with the keys above. It has to end by itself when asked, without a trace."""
    port = free_port()
    flags = ("--port", str(port), "--api-keys-file", str(write_keys(folder)), *flags)
    certificate, scheme = None, "http"
    if tls:
        certificate, key = self_signed(folder)
        flags += ("--tls-cert", str(certificate), "--tls-key", str(key))
        scheme = "https"
    with Pollux(folder / "log", "serve", *flags) as process:
        yield Server(f"{scheme}://127.0.0.1:{port}", process, certificate)
        assert process.stop() == 0
        assert "Traceback" not in process.output()


@contextmanager
def serving_tiny(folder: Path, cache: Path, *, tls: bool = False) -> Iterator[Server]:
    """With the engine in it, and ready."""
    engine = ("--cache", str(cache), "--max-rows", "8", "--kv-memory", "64MiB")
    model = ("--model", str(write_checkpoint(folder)))
    with serving(folder, *model, *engine, tls=tls) as server:
        server.process.wait_ready(server.url, server.certificate)
        yield server


def sse_payloads(text: str) -> list[object]:
    """Of a stream that must hold `data: {json}` lines and nothing else."""
    events = text.split("\n\n")
    assert events[-1] == ""
    assert all(event.startswith("data: {") and "\n" not in event for event in events[:-1]), text
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
