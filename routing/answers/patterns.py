"""Regular expressions of callers: RE2, so that none takes longer than its text is long."""

from typing import Any

import re2

MAX_PATTERN_CHARS = 256
MAX_PATTERN_MEMORY = 1 << 20
DEFAULT_PATTERN = r"(?i)\banswer\s*:\s*(.+)"


def compile_pattern(pattern: str) -> Any:
    """Raises ValueError, in one line, for what RE2 refuses: bad syntax or too large a program."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    try:
        return re2.compile(pattern, options=options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if isinstance(error, re2.error) else "not valid Unicode"
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(f"the pattern is not a valid RE2 expression: {text}") from None
