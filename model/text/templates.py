"""Chat templates: jinja2 in its sandbox, with what transformers gives to templates.

A template comes with a model file, so it is bounded and cannot reach Python; still, a model file
is the operator's choice, and only its size and its output are limited, not its running time.
Settings and helpers: transformers' documentation, "Writing a chat template".
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MAX_TEMPLATE_CHARS = 256 * 1024
MAX_RENDERED_CHARS = 16 * 1024 * 1024
_MAX_EXPONENT = 64


class TemplateError(ValueError):
    """A conversation that the chat template does not take, or a broken template. One line."""


class ChatTemplate:
    """A compiled chat template. reads: names of the variables that it looks at.

    Raises TemplateError when it does not compile.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARS:
            raise TemplateError(f"the chat template exceeds {MAX_TEMPLATE_CHARS} characters")
        self.source = source
        try:
            environment = _environment()
            self._template = environment.from_string(source)
            self.reads = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except (jinja2.TemplateError, RecursionError, OverflowError) as error:
            raise TemplateError(f"the chat template does not compile: {_line(error)}") from None

    def render(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """Raises TemplateError when the template refuses the conversation or fails."""
        parts: list[str] = []
        room = MAX_RENDERED_CHARS
        try:
            for part in self._template.generate(messages=list(messages), **variables):
                room -= len(part)
                if room < 0:
                    break
                parts.append(part)
        except jinja2.UndefinedError as error:
            raise TemplateError(f"the chat template lacks something: {_line(error)}") from None
        except jinja2.TemplateError as error:
            raise TemplateError(_line(error)) from None
        except Exception as error:  # a template's own arithmetic and indexing can raise anything
            raise TemplateError(f"the chat template fails: {_line(error)}") from None
        if room < 0:
            raise TemplateError(f"the conversation exceeds {MAX_RENDERED_CHARS} characters")
        return "".join(parts)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Also bounds what one operator can produce: `'a' * 10**10` would not end as output."""

    intercepted_binops = frozenset(("*", "**"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" and not (_small(left) and _small(right)):
            raise jinja2.TemplateRuntimeError("the template computes too large a power")
        if operator == "*" and _product_size(left, right) > MAX_RENDERED_CHARS:
            raise jinja2.TemplateRuntimeError("the template repeats something too often")
        return super().call_binop(context, operator, left, right)


def _small(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= _MAX_EXPONENT


def _product_size(left: Any, right: Any) -> int:
    for sequence, count in ((left, right), (right, left)):
        if isinstance(sequence, str | list | tuple) and isinstance(count, int):
            return len(sequence) * max(count, 0)
    return 0


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; here it is its content."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> _Sandbox:
    environment = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
