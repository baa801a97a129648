"""Makes docs/settings.md from service/settings.py and the commands' flags:

    python scripts/make_settings_doc.py

A test fails when the file is not what this prints.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import ByteSize
from pydantic.fields import FieldInfo

from service.commands.serve import serve
from service.commands.worker import worker
from service.settings import Settings

TARGET = Path(__file__).resolve().parent.parent / "docs" / "settings.md"

PREFIX = str(Settings.model_config.get("env_prefix"))

INTRODUCTION = """\
# Settings

Each setting has an environment variable; those that a command takes as a flag have that as well.
A flag wins over the variable, the variable over the default. A bad value ends the command with one
line and status 2. Settings are read once, at the start.

`pollux serve` takes every flag below, `pollux worker` those marked *w*; `POLLUX_SHUTDOWN_GRACE`
holds for both. `pollux ask` reads `POLLUX_HOST`, `POLLUX_PORT`, `POLLUX_TLS_CERT`,
`POLLUX_TLS_SELF_SIGNED` and the `POLLUX_ROUTED_*` variables, so one environment does for server and
question; the key it sends is `POLLUX_API_KEY`. Sizes are in bytes, or written with a unit (`2GiB`);
times are in seconds. Keys, origins and certificates are explained in
[deployment.md](deployment.md#keys-and-tls).

Without a value, `context` is the model's, `kv_memory` nine tenths of an accelerator's free memory
or an eighth of a host's (2 GiB at most), `max_rows` 128 on an accelerator, 64 on a CPU with packed
weights and 32 on others, `busy_chunk` 32 on a CPU and `prefill_chunk` elsewhere, `cache` the user's
cache folder, and the engine runs inside the gateway. With `--redis` a gateway leaves all that
concerns the engine, from `dtype` to `cache`, to its workers. The settings from
`POLLUX_MAX_MEDIA_BYTES` to `POLLUX_MEDIA_URL_TIMEOUT` belong to [media.md](media.md): no endpoint
reads media yet.

| Flag | Variable | Default | Meaning |
|---|---|---|---|
"""


def document() -> str:
    rows = [row(name, field) for name, field in Settings.model_fields.items()]
    return INTRODUCTION + "".join(rows) + FOOTER


FOOTER = """
This file is made by `python scripts/make_settings_doc.py` from `service/settings.py`.
"""


def row(name: str, field: FieldInfo) -> str:
    cells = (flag(name), f"`{PREFIX}{name.upper()}`", default(field), meaning(field))
    return f"| {' | '.join(cells)} |\n"


def flag(name: str) -> str:
    if name not in parameters(serve):
        return ""
    marked = " *w*" if name in parameters(worker) else ""
    return f"`--{name.replace('_', '-')}`{marked}"


def parameters(command: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(command).parameters)


def default(field: FieldInfo) -> str:
    if isinstance(field.default, ByteSize):
        return f"`{field.default.human_readable(separator='').replace('.0', '')}`"
    return "" if field.default in (None, "") else f"`{field.default}`"


def meaning(field: FieldInfo) -> str:
    parts = (field.description or "", choices(field), bounds(field))
    return "; ".join(part for part in parts if part)


def choices(field: FieldInfo) -> str:
    if get_origin(field.annotation) is not Literal:
        return ""
    return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))


def bounds(field: FieldInfo) -> str:
    words = []
    for rule in field.metadata:
        match rule:
            case Ge():
                words.append(f"at least {rule.ge}")
            case Gt():
                words.append(f"above {rule.gt}")
            case Le():
                words.append(f"at most {rule.le}")
    return ", ".join(words)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
