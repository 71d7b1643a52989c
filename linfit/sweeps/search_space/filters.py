"""`hydra.sweeper.filter`: an expression over a sweep's keys that is never executed as code.

Keys are written plainly (`optimizer.lr < 0.1`), text in quotes (`optimizer == 'adam'`). Allowed are
comparisons, `in`, and, or, not, + - * / // % **, numbers, text, lists, true, false and null. A key
that a job does not have is null; `<` and its like are false with null.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from linfit.component import describe_unknown
from linfit.errors import ConfigError

KeyValues = Mapping[str, Any]
CompiledTerm = Callable[[KeyValues], Any]

_CONSTANTS = {"true": True, "false": False, "null": None}
_ARITHMETIC: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: float(a) ** float(b),  # a power of integers could take forever
}
_ORDER: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_EQUALITY: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


class JobFilter:
    """Keeps or drops a job by its values.

    `known` are the keys that the sweep sets.
    """

    def __init__(self, text: str, known: list[str]) -> None:
        self.text = text
        self._known = known
        written = text.strip()
        try:
            tree = ast.parse(written, mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = ""
            if isinstance(error, SyntaxError) and error.offset:
                where = f" at {written[error.offset - 1 :]!r}"
            raise ConfigError(
                f"filter {text!r} does not parse{where}: "
                f"write a comparison such as optimizer.lr < 0.1"
            ) from error
        self._term = self._compile(tree.body)

    def should_keep(self, values: KeyValues) -> bool:
        """Return True if a job with these values is kept."""
        try:
            kept = self._term(values)
        except (TypeError, ArithmeticError) as error:
            given = " ".join(f"{key}={value}" for key, value in values.items())
            raise ConfigError(
                f"filter {self.text!r} cannot be computed for {given}: {error.args[-1]}"
            ) from error
        if not isinstance(kept, bool):
            raise ConfigError(
                f"filter {self.text!r} gives {kept!r}: "
                f"it has to be true or false, such as optimizer.lr < 0.1"
            )
        return kept

    def _compile(self, node: ast.expr) -> CompiledTerm:
        """Return the function that computes a node for the values of a job."""
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                return self._key(node)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                terms = list(map(self._compile, parts))
                return lambda values: [term(values) for term in terms]
            case ast.BoolOp(op=kind, values=parts):
                terms = list(map(self._compile, parts))
                decide = any if isinstance(kind, ast.Or) else all
                return lambda values: decide(_truth(term(values)) for term in terms)
            case ast.UnaryOp(op=ast.Not(), operand=part):
                inner = self._compile(part)
                return lambda values: not _truth(inner(values))
            case ast.UnaryOp(op=ast.USub(), operand=part):
                inner = self._compile(part)
                return lambda values: _arithmetic(operator.sub, 0, inner(values))
            case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _ARITHMETIC:
                first = self._compile(left)
                second = self._compile(right)
                compute = _ARITHMETIC[type(kind)]
                return lambda values: _arithmetic(compute, first(values), second(values))
            case ast.Compare() if {*map(type, node.ops)} <= {*_ORDER, *_EQUALITY}:
                return self._comparison(node)
        raise ConfigError(
            f"filter {self.text!r} has {ast.unparse(node)!r}: "
            f"only keys, values, comparisons, and/or/not and arithmetic"
        )

    def _key(self, node: ast.expr) -> CompiledTerm:
        key = ast.unparse(node)
        if key in self._known:
            return lambda values: values.get(key)
        if key in _CONSTANTS:
            constant = _CONSTANTS[key]
            return lambda _: constant
        raise ConfigError(
            f"filter {self.text!r}: {describe_unknown('swept key', key, self._known)}; "
            f"text stands in quotes, and a key is known once it has a value, as in steps=1000"
        )

    def _comparison(self, node: ast.Compare) -> CompiledTerm:
        """Return the function of a chain such as `0 < a <= b`, whose terms are all computed."""
        terms = list(map(self._compile, (node.left, *node.comparators)))
        kinds = list(map(type, node.ops))

        def compare(values: KeyValues) -> bool:
            parts = [term(values) for term in terms]
            return all(map(_holds, kinds, parts, parts[1:]))

        return compare


def _holds(kind: type[ast.cmpop], a: Any, b: Any) -> bool:
    if kind in _EQUALITY:
        return _EQUALITY[kind](a, b)
    return a is not None and b is not None and _ORDER[kind](a, b)


def _arithmetic(compute: Callable[[float, float], float], a: Any, b: Any) -> float | None:
    if a is None or b is None:
        return None
    for value in (a, b):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{value!r} is no number")
    return compute(a, b)


def _truth(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value
