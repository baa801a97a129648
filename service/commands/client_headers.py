"""How commands that are clients find the server and tell it who they are."""

from service.commands.console import MISUSED, fail, settings_from
from service.settings import Settings


def default_url(settings: Settings) -> str:
    """Of the server that the same environment would start."""
    scheme = "https" if settings.tls_cert or settings.tls_self_signed else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{settings.port}"


def key_headers() -> dict[str, str]:
    """With the key of POLLUX_API_KEY, if there is one."""
    key = settings_from().api_key
    text = key.get_secret_value().strip() if key is not None else ""
    if not text:
        return {}
    if not (text.isascii() and text.isprintable()):
        fail("POLLUX_API_KEY is no key: it has characters that a header cannot carry", MISUSED)
    return {"authorization": f"Bearer {text}"}
