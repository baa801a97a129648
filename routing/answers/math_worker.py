"""The program that parses and simplifies formulas, one per line, in a process of its own.

Started by `math_process` as a file, so it imports nothing of Pollux. Reads {"latex": text} lines,
answers each with {"canonical": text or null}. A formula that takes more processor time than it may
ends the process (SIGPROF), memory is bounded by the operating system, and the end of the input
ends the program. What it prints comes from libraries and is dropped.
"""

import json
import os
import signal
import sys
from typing import Any

import sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
from latex2sympy2_extended.sets import FiniteSet
from math_verify import LatexExtractionConfig
from sympy.core.relational import Relational

MAX_CANONICAL_CHARS = 400
_STRICT = {sympy.StrictLessThan: "<", sympy.LessThan: "<=", sympy.Unequality: "!="}


def canonical(latex: str) -> str | None:
    """None when this is no formula, or one that says nothing (1 < 2, 1/0)."""
    value = latex2sympy(
        latex,
        is_real=True,
        normalization_config=LatexExtractionConfig().normalization_config,
        conversion_config=ConversionConfig(lowercase_symbols=False),
    )
    if isinstance(value, sympy.Equality) and value.lhs.is_Symbol:
        value = value.rhs
    written = _written(value)
    return written if len(written) <= MAX_CANONICAL_CHARS else None


def _written(value: Any) -> str:
    """One spelling for equal values. Raises ValueError where there is none."""
    if isinstance(value, sympy.MatrixBase):
        rows = ("[" + ", ".join(map(_written, row)) + "]" for row in value.tolist())
        return "[" + ", ".join(rows) + "]"
    if isinstance(value, sympy.Interval):
        left, right = "(" if value.left_open else "[", ")" if value.right_open else "]"
        return f"{left}{_written(value.start)}, {_written(value.end)}{right}"
    if isinstance(value, FiniteSet | sympy.FiniteSet):
        return "{" + ", ".join(sorted(set(map(_written, value.args)))) + "}"
    if isinstance(value, sympy.Tuple):
        return "(" + ", ".join(map(_written, value)) + ")"
    if isinstance(value, sympy.Union | sympy.Intersection):
        sign = " U " if isinstance(value, sympy.Union) else " & "
        return sign.join(sorted(set(map(_written, value.args))))
    if isinstance(value, Relational):
        return _relation(value)
    if isinstance(value, sympy.Expr):
        return _expression(value)
    if isinstance(value, sympy.Set):
        return str(value)
    raise ValueError(f"no canonical form for {type(value).__name__}")


def _relation(value: Relational) -> str:
    if isinstance(value, sympy.GreaterThan | sympy.StrictGreaterThan):
        value = value.reversed
    if not isinstance(value, sympy.Equality):
        return f"{_written(value.lhs)} {_STRICT[type(value)]} {_written(value.rhs)}"
    if not isinstance(value.rhs, sympy.Expr) or value.lhs.is_Symbol:
        return f"{_written(value.lhs)} = {_written(value.rhs)}"
    difference = value.lhs - value.rhs
    return max(_expression(difference), _expression(-difference)) + " = 0"


def _expression(value: Any) -> str:
    exact = sympy.nsimplify(value.doit(), rational=True)
    if {symbol.name for symbol in exact.free_symbols} == {"i"}:
        exact = exact.subs(dict.fromkeys(exact.free_symbols, sympy.I)).expand()
    if not exact.is_Rational:
        exact = sympy.simplify(exact)
        exact = _expanded(exact) if exact.free_symbols else sympy.radsimp(sympy.sqrtdenest(exact))
    if exact.has(sympy.nan, sympy.zoo):
        raise ValueError("not a value")
    return str(exact)


def _expanded(value: Any) -> Any:
    """Numerator and denominator multiplied out and without common factors."""
    try:
        return sympy.cancel(sympy.together(value))
    except sympy.PolynomialError:
        return sympy.expand(value)


def limited(memory: int) -> None:
    """Bounds the address space, where the system can."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(cpu_seconds: float, memory: int) -> None:
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    limited(memory)
    replies.write("ready\n")
    replies.flush()
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        try:
            answer = canonical(json.loads(line)["latex"])
        except (Exception, RecursionError, MemoryError):
            # A parser and an algebra system over any text: they raise whatever they like.
            answer = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        replies.write(json.dumps({"canonical": answer}) + "\n")
        replies.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
