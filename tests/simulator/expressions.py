"""DynamoDB's expressions, as far as a careful program needs them; else an AssertionError.

Conditions: =, <>, <, <=, >, >=, BETWEEN, IN, AND, OR, NOT, attribute_exists, attribute_not_exists
and begins_with. Updates: SET with a value, `+`, `-` or if_not_exists, and REMOVE. Attributes are
top-level, texts or whole numbers.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.html
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

Value = Mapping[str, str]
Item = dict[str, Value]
Names = Mapping[str, str]
Values = Mapping[str, Value]
Operand = Callable[[Item, Names, Values], Value | None]
Condition = Callable[[Item, Names, Values], bool]
Change = Callable[[Item, Names, Values], tuple[str, Value | None]]

_TOKEN = re.compile(r"\s*(<>|<=|>=|[=<>(),+-]|[#:]?\w+)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
# Names that are no reserved words; every other must come as a placeholder.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
_BARE = {"pk", "sk", "due", "due_at", "used", "expires_at"}


class MissingAttribute(Exception):
    """An update computes with an attribute that is not there."""


@dataclass
class _Parser:
    """Reads one expression, and notes which placeholders it uses."""

    tokens: list[str]
    used: set[str]

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def take(self, expected: str = "") -> str:
        assert self.tokens, f"expression ends where {expected or 'more'} is expected"
        token = self.tokens.pop(0)
        assert not expected or token == expected, f"{token!r} where {expected!r} is expected"
        return token

    def taken(self, token: str) -> bool:
        if self.peek() != token:
            return False
        self.take()
        return True

    # --- operands -----------------------------------------------------------------------------

    def name(self) -> Callable[[Names], str]:
        token = self.take()
        assert re.fullmatch(r"#\w+|[a-z]\w*", token), f"{token!r} where a name is expected"
        if token.startswith("#"):
            self.used.add(token)
            return lambda names: names[token]
        assert token in _BARE, f"{token!r} may be a reserved word: use a placeholder"
        return lambda _names: token

    def operand(self) -> Operand:
        if self.peek().startswith(":"):
            token = self.take()
            self.used.add(token)
            return lambda _item, _names, values: values[token]
        name = self.name()
        return lambda item, names, _values: item.get(name(names))

    # --- conditions ---------------------------------------------------------------------------

    def condition(self) -> Condition:
        left = self.conjunction()
        while self.taken("OR"):
            left = _either(left, self.conjunction())
        return left

    def conjunction(self) -> Condition:
        left = self.negation()
        while self.taken("AND"):
            left = _both(left, self.negation())
        return left

    def negation(self) -> Condition:
        if self.taken("NOT"):
            inner = self.negation()
            return lambda *where: not inner(*where)
        if self.taken("("):
            inner = self.condition()
            self.take(")")
            return inner
        if self.peek() in ("attribute_exists", "attribute_not_exists", "begins_with"):
            return self.function(self.take())
        return self.comparison()

    def function(self, function: str) -> Condition:
        self.take("(")
        if function == "begins_with":
            text = self.operand()
            self.take(",")
            prefix = self.operand()
            self.take(")")
            return lambda *where: _text(text(*where)).startswith(_text(prefix(*where)))
        name, exists = self.name(), function == "attribute_exists"
        self.take(")")
        return lambda item, names, _values: (name(names) in item) is exists

    def comparison(self) -> Condition:
        left = self.operand()
        sign = self.take()
        if sign == "BETWEEN":
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return _both(_compared(left, ">=", low), _compared(left, "<=", high))
        if sign == "IN":
            return self.membership(left)
        assert sign in _COMPARE, f"{sign!r} where a comparison is expected"
        return _compared(left, sign, self.operand())

    def membership(self, left: Operand) -> Condition:
        self.take("(")
        found = _compared(left, "=", self.operand())
        while self.taken(","):
            found = _either(found, _compared(left, "=", self.operand()))
        self.take(")")
        return found

    # --- updates ------------------------------------------------------------------------------

    def update(self) -> list[Change]:
        changes: list[Change] = []
        clauses: set[str] = set()
        while self.tokens:
            clause = self.take()
            assert clause in ("SET", "REMOVE"), f"the clause {clause!r} is not known here"
            assert clause not in clauses, f"{clause} stands there twice"
            clauses.add(clause)
            one = self.assignment if clause == "SET" else self.removal
            changes.append(one())
            while self.taken(","):
                changes.append(one())
        assert changes, "an update without a clause"
        return changes

    def assignment(self) -> Change:
        name = self.name()
        self.take("=")
        value = self.value()
        if self.peek() in ("+", "-"):
            value = _sum(value, self.take(), self.value())
        return lambda item, names, values: (name(names), _present(value(item, names, values)))

    def removal(self) -> Change:
        name = self.name()
        return lambda _item, names, _values: (name(names), None)

    def value(self) -> Operand:
        if not self.taken("if_not_exists"):
            return self.operand()
        self.take("(")
        name = self.name()
        self.take(",")
        otherwise = self.operand()
        self.take(")")
        return lambda item, names, values: item.get(name(names)) or otherwise(item, names, values)


def _both(left: Condition, right: Condition) -> Condition:
    return lambda *where: left(*where) and right(*where)


def _either(left: Condition, right: Condition) -> Condition:
    return lambda *where: left(*where) or right(*where)


def _compared(left: Operand, sign: str, right: Operand) -> Condition:
    def compare(item: Item, names: Names, values: Values) -> bool:
        one, other = left(item, names, values), right(item, names, values)
        if one is None or other is None or one.keys() != other.keys():
            return sign == "<>"
        return _COMPARE[sign](_plain(one), _plain(other))

    return compare


def _sum(left: Operand, sign: str, right: Operand) -> Operand:
    def add(item: Item, names: Names, values: Values) -> Value:
        one, other = (_present(operand(item, names, values)) for operand in (left, right))
        assert "N" in one, "arithmetic is for numbers"
        assert "N" in other, "arithmetic is for numbers"
        difference = int(other["N"]) if sign == "+" else -int(other["N"])
        return {"N": str(int(one["N"]) + difference)}

    return add


def _present(value: Value | None) -> Value:
    if value is None:
        raise MissingAttribute
    return value


def _plain(value: Value) -> str | int:
    ((kind, text),) = value.items()
    assert kind in ("S", "N"), f"the type {kind} is not known here"
    return int(text) if kind == "N" else text


def _text(value: Value | None) -> str:
    assert value is None or "S" in value, "begins_with is for texts"
    return value["S"] if value else "\0no text"


@dataclass(frozen=True)
class Parsed:
    """A condition or an update, and the placeholders it uses."""

    condition: Condition
    changes: tuple[Change, ...]
    used: frozenset[str]


@lru_cache(maxsize=4096)
def parsed(text: str, *, update: bool = False) -> Parsed:
    """Read an expression; AssertionError when it is none, or more than is known here."""
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        assert match, f"cannot read {text[position:]!r}"
        tokens.append(match[1])
        position = match.end()
    parser = _Parser(tokens, set())
    condition: Condition = (lambda *_: True) if update else parser.condition()
    changes = tuple(parser.update()) if update else ()
    assert not parser.tokens, f"{parser.tokens!r} after the end of {text!r}"
    return Parsed(condition, changes, frozenset(parser.used))
