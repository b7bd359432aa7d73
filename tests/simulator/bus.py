"""EventBridge's rules: which events they pass on to the queue.

The rules are template.yaml's, as the program's own list has them. A small matcher of what their
patterns use; `test_patterns` holds it equal to a whole one.
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

ABSENT = object()


@cache
def patterns() -> Mapping[str, Any]:
    """The pattern of each rule that has one, by logical id."""
    rules = json.loads((files("notifier") / "rules.json").read_text("utf-8"))
    return {name: rule["pattern"] for name, rule in rules.items() if "pattern" in rule}


def rules_that_take(event: Mapping[str, Any]) -> list[str]:
    """The rules whose pattern the event matches."""
    return [name for name, pattern in patterns().items() if matches(pattern, event)]


def matches(pattern: Mapping[str, Any], event: object) -> bool:
    """Whether an object has what the pattern asks for; of a list one element is enough."""
    if isinstance(event, list):
        return any(matches(pattern, one) for one in event)
    here = event if isinstance(event, Mapping) else {}
    return all(_field_matches(name, asked, here) for name, asked in pattern.items())


def _field_matches(name: str, asked: Any, here: Mapping[str, Any]) -> bool:
    if name == "$or":
        return any(matches(one, here) for one in asked)
    if isinstance(asked, Mapping):
        return matches(asked, here.get(name))
    return _leaf_matches(asked, here.get(name, ABSENT))


def _leaf_matches(asked: Sequence[Any], value: object) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(_matches_one(one, each) for one in asked for each in values)


def _matches_one(one: Any, value: object) -> bool:
    if not isinstance(one, Mapping):
        return type(one) is type(value) and one == value
    ((operator, operand),) = one.items()
    if operator == "exists":
        return (value is not ABSENT) is operand
    if operator == "prefix":
        return isinstance(value, str) and value.startswith(operand)
    if operator == "wildcard":
        return isinstance(value, str) and _like(operand.split("*"), value)
    assert operator == "anything-but", f"no rule of ours uses {operator}"
    if isinstance(operand, Mapping):
        # Only texts are compared with a prefix: what is none does not match either way.
        return isinstance(value, str) and not _matches_one(operand, value)
    refused = operand if isinstance(operand, list) else [operand]
    return value is not ABSENT and value not in refused


def _like(parts: Sequence[str], value: str) -> bool:
    first, *middle, last = parts
    if not value.startswith(first):
        return False
    at = len(first)
    for part in middle:
        found = value.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return value.endswith(last) and len(value) - len(last) >= at
