"""Callers' grammars for llguidance, each compiled first by a process that may die of it. No jax.

llguidance bounds what a mask costs, and most of what compiling does. But some grammars of a few
bytes take minutes to compile (`multipleOf` of a large number), and rules nested by the thousand
overflow the stack, which ends the process. So a new grammar is first compiled by a process of its
own, under limits of time, memory and stack; only what that survives is compiled here.
"""

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

TRIAL_STACK = 4 * 2**20
COMPILE_STACK = 64 * 2**20
"""Bytes. What the trial's stack holds, this one does."""

_CPU_S = 2
_WALL_S = 30.0
_MEMORY = 2 * 2**30
_ROOT = str(Path(__file__).parents[2])
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from model.engine.grammar_trial import main; main()"
)


class BadGrammar(ValueError):
    """A grammar that is none, or takes too much. One line, for whoever sent it."""


def limits() -> LLParserLimits:
    """Of one grammar. The others are llguidance's: 20 ms for a grammar's first regular expressions
    and 14 ms for those of a mask."""
    return LLParserLimits(
        step_max_items=20_000,  # 1 ms of a mask
        max_lexer_states=20_000,  # 1 to 2 kB each, shared by the paths of a group
        max_grammar_size=10_000,  # Rows of more symbols cost a mask up to a second.
        verbose_errors=False,
    )


def compiled(vocabulary: LLTokenizer, kind: str, text: str) -> LLMatcher:
    """Raises BadGrammar. kind: "regex", "json_schema" or "lark"."""
    matcher = LLMatcher(vocabulary, _source(kind, text), log_level=0, limits=limits())
    if matcher.is_error():
        raise BadGrammar(one_line(matcher.get_error()))
    return matcher


def is_dead_end(message: str) -> bool:
    """Whether the matcher's error is that the vocabulary has no token for what must follow."""
    return message.strip().startswith("NoExtension")


def one_line(message: str) -> str:
    """What llguidance says of a grammar, cut to what fits a message."""
    if message.startswith("panic"):  # With where it happened, which is nobody's business.
        return "it is too complex"
    lines = [line.strip() for line in message.splitlines()]
    said = [line for line in lines if line and not line.startswith("<")] or ["no reason given"]
    # A regular expression is shown with a pointer below it before its error is named.
    named = [line for line in said[1:] if line.startswith("error: ")]
    text = " ".join([said[0], *named[:1]])
    return text if len(text) <= 200 else text[:197] + "..."


def try_out(kind: str, text: str) -> None:
    """Compiles in a process of its own. Raises BadGrammar."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START, _ROOT],
            input=json.dumps([kind, text]).encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_WALL_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadGrammar("it takes too long to compile") from None
    if done.returncode:
        raise BadGrammar("it takes too much time, memory or nesting to compile")
    error = json.loads(done.stdout)
    if error:
        raise BadGrammar(error)


def main() -> None:
    """The process: a grammar from the standard input, what is wrong with it to the output."""
    with suppress(ImportError):  # Not on Windows, where only the time is limited.
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    kind, text = json.load(sys.stdin)
    threading.stack_size(TRIAL_STACK)
    thread = threading.Thread(target=_report, args=(kind, text))
    thread.start()
    thread.join()


def _report(kind: str, text: str) -> None:
    error = ""
    try:
        compiled(LLTokenizer(_Bytes(), slices=[]), kind, text)  # type: ignore[arg-type]
    except BadGrammar as bad:
        error = str(bad)
    json.dump(error, sys.stdout)


def _source(kind: str, text: str) -> str:
    if kind == "regex":
        return LLMatcher.grammar_from_regex(text)
    if kind == "lark":
        return LLMatcher.grammar_from_lark(text)
    try:
        # With space wherever JSON allows it, small models write nothing else.
        written = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        return LLMatcher.grammar_from_json_schema(text, overrides=written)  # type: ignore[arg-type]
    except ValueError as error:
        raise BadGrammar(one_line(f"the schema is not JSON: {error}")) from None


class _Bytes:
    """A vocabulary of the 256 bytes and an end of sequence, as llguidance reads one."""

    is_tokenizer_wrapper = True
    eos_token_id = 256
    bos_token_id = None
    special_token_ids = (256,)
    tokens = (*(bytes([byte]) for byte in range(256)), b"")

    def __call__(self, text: str) -> list[int]:
        return list(text.encode())
