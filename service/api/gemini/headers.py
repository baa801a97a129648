"""What Gemini's clients say in headers."""

from collections.abc import Mapping


def client_timeout(headers: Mapping[str, str]) -> float | None:
    """Seconds that google-genai says it will wait."""
    try:
        seconds = float(headers.get("x-server-timeout", ""))
    except ValueError:
        return None
    return seconds if seconds > 0 else None
