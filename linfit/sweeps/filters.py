"""`hydra.sweeper.filter`: which combinations of a sweep are kept, as an expression over its keys that is never executed as code.

Keys stand as they are (`optimizer.lr < 0.1`), text in quotes (`optimizer == 'adam'`). There are comparisons, `in`, and, or,
not, + - * / // % **, numbers, text, lists, true, false and null. A key that a job does not have is null; `<` and its like
are false with null.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from linfit.component import unknown
from linfit.errors import ConfigError

Values = Mapping[str, Any]
Term = Callable[[Values], Any]

_CONSTANTS = {"true": True, "false": False, "null": None}
_ARITHMETIC: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: lambda a, b: float(a) ** float(b),  # of integers it could take forever
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


class Filter:
    """Keeps or drops a job by its values; `known` are the keys that the sweep sets."""

    def __init__(self, text: str, known: list[str]) -> None:
        self.text, self._known = text, known
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = (
                f" at {text.strip()[(error.offset or 1) - 1 :]!r}"
                if isinstance(error, SyntaxError) and error.offset
                else ""
            )
            raise ConfigError(
                f"filter {text!r} does not parse{where}: write a comparison such as optimizer.lr < 0.1"
            ) from error
        self._term = self._compile(tree.body)

    def keeps(self, values: Values) -> bool:
        try:
            kept = self._term(values)
        except (TypeError, ArithmeticError) as error:
            given = " ".join(f"{key}={value}" for key, value in values.items())
            raise ConfigError(
                f"filter {self.text!r} cannot be computed for {given}: {error.args[-1]}"
            ) from error
        if not isinstance(kept, bool):
            raise ConfigError(
                f"filter {self.text!r} gives {kept!r}: it has to be true or false, such as optimizer.lr < 0.1"
            )
        return kept

    def _compile(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return lambda _: value
            case ast.Name() | ast.Attribute():
                return self._key(node)
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                terms = [self._compile(part) for part in parts]
                return lambda values: [term(values) for term in terms]
            case ast.BoolOp(op=kind, values=parts):
                terms, stop = [self._compile(part) for part in parts], isinstance(kind, ast.Or)
                return lambda values: _first(stop, (_truth(term(values)) for term in terms))
            case ast.UnaryOp(op=ast.Not(), operand=part):
                inner = self._compile(part)
                return lambda values: not _truth(inner(values))
            case ast.UnaryOp(op=ast.USub(), operand=part):
                inner = self._compile(part)
                return lambda values: _arithmetic(operator.sub, 0, inner(values))
            case ast.BinOp(left=left, op=kind, right=right) if type(kind) in _ARITHMETIC:
                first, second, compute = (
                    self._compile(left),
                    self._compile(right),
                    _ARITHMETIC[type(kind)],
                )
                return lambda values: _arithmetic(compute, first(values), second(values))
            case ast.Compare(left=left, ops=kinds, comparators=rights) if all(
                type(kind) in {**_ORDER, **_EQUALITY} for kind in kinds
            ):
                return _comparison(
                    [self._compile(part) for part in (left, *rights)],
                    [type(kind) for kind in kinds],
                )
        raise ConfigError(
            f"filter {self.text!r} has {ast.unparse(node)!r}: only keys, values, comparisons, and/or/not and arithmetic"
        )

    def _key(self, node: ast.expr) -> Term:
        key = ast.unparse(node)
        if key in self._known:
            return lambda values: values.get(key)
        if key in _CONSTANTS:
            constant = _CONSTANTS[key]
            return lambda _: constant
        raise ConfigError(
            f"filter {self.text!r}: {unknown('swept key', key, self._known)}; text stands in quotes, and a key is known once it has a value, as in steps=1000"
        )


def _comparison(terms: list[Term], kinds: list[type[ast.cmpop]]) -> Term:
    def compare(values: Values) -> bool:
        parts = [term(values) for term in terms]
        return all(_holds(kind, a, b) for kind, a, b in zip(kinds, parts, parts[1:], strict=False))

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


def _first(stop: bool, values: Any) -> bool:
    """Or stops at the first true, and at the first false, as Python's do."""
    return stop if any(value is stop for value in values) else not stop
