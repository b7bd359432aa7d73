"""A template as CloudFormation sees it for one set of parameters: no `Condition`, no `Fn::If` left.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/conditions-section-structure.html
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]
Truth = Mapping[str, bool]

NOTHING: Any = {"Ref": "AWS::NoValue"}


def values_that_matter(template: Json) -> dict[str, list[str]]:
    """Of each parameter that a condition or rule looks at: the texts it is compared with, one else.

    "x-given" stands for any text besides those. Two parameters that are compared with each other
    stand together under the name of the comparison, and are "equal" or not.
    """
    compared: dict[str, list[str]] = {}
    together: dict[str, list[str]] = {}
    for node in walk([template.get("Conditions", {}), template.get("Rules", {})]):
        if isinstance(node, dict) and "Fn::Equals" in node:
            reference, text = node["Fn::Equals"]
            if isinstance(text, str):
                compared.setdefault(reference["Ref"], []).append(text)
            else:
                together[_comparison(node)] = ["equal", "different"]
    parameters = template["Parameters"]
    return together | {name: _accepted(parameters[name], texts) for name, texts in compared.items()}


def _comparison(node: Json) -> str:
    return " = ".join(reference["Ref"] for reference in node["Fn::Equals"])


def _accepted(parameter: Json, texts: Sequence[str]) -> list[str]:
    offered = [str(value) for value in parameter.get("AllowedValues", ())] or [*texts, "x-given"]
    others = [value for value in offered if value not in texts]
    return [*(text for text in dict.fromkeys(texts) if text in offered), *others[:1]]


def truth(template: Json, condition: Any, values: Mapping[str, str]) -> bool:
    """Evaluate a condition, by name or as it is written, for these values of what matters."""
    if isinstance(condition, str):
        condition = template["Conditions"][condition]
    ((function, argument),) = condition.items()
    match function:
        case "Condition":
            return truth(template, argument, values)
        case "Fn::Equals":
            reference, text = argument
            if isinstance(text, str):
                return values[reference["Ref"]] == text
            return values[_comparison(condition)] == "equal"
        case "Fn::Not":
            return not truth(template, argument[0], values)
        case "Fn::And":
            return all(truth(template, one, values) for one in argument)
        case "Fn::Or":
            return any(truth(template, one, values) for one in argument)
    raise AssertionError(f"{function} is no function of a condition")


def allowed(template: Json) -> list[dict[str, bool]]:
    """Every combination of the conditions that the template's parameters and Rules allow."""
    matter = values_that_matter(template)
    made: dict[tuple[bool, ...], dict[str, bool]] = {}
    for chosen in itertools.product(*matter.values()):
        values = dict(zip(matter, chosen, strict=True))
        if is_refused(template, values):
            continue
        truths = {name: truth(template, name, values) for name in template.get("Conditions", {})}
        made[tuple(truths.values())] = truths
    return list(made.values())


def is_refused(template: Json, values: Mapping[str, str]) -> bool:
    """Whether one of the template's Rules refuses these values before anything is deployed."""
    return any(
        not truth(template, assertion["Assert"], values)
        for rule in template.get("Rules", {}).values()
        if "RuleCondition" not in rule or truth(template, rule["RuleCondition"], values)
        for assertion in rule["Assertions"]
    )


def resolved(template: Json, truths: Truth) -> Json:
    """The template with these truths: what is conditional is there, or it is not.

    Its parameters have no defaults: where they are used they were given, and mostly are not empty.
    """
    left_out = {"Conditions", "Rules"}
    flat: Json = {name: part for name, part in template.items() if name not in left_out}
    for section in ("Resources", "Outputs"):
        flat[section] = {
            name: one
            for name, one in template.get(section, {}).items()
            if "Condition" not in one or truths[one["Condition"]]
        }
    made: Json = _chosen(flat, truths)
    made["Parameters"] = {
        name: {key: value for key, value in parameter.items() if key != "Default"}
        for name, parameter in template.get("Parameters", {}).items()
    }
    for section in ("Resources", "Outputs"):
        for one in made[section].values():
            one.pop("Condition", None)
    return made


def _chosen(node: Any, truths: Truth) -> Any:
    if isinstance(node, dict) and set(node) == {"Fn::If"}:
        condition, yes, no = node["Fn::If"]
        return _chosen(yes if truths[condition] else no, truths)
    if isinstance(node, dict):
        made = {name: _chosen(child, truths) for name, child in node.items()}
        return {name: child for name, child in made.items() if child != NOTHING}
    if isinstance(node, list):
        return [child for child in (_chosen(one, truths) for one in node) if child != NOTHING]
    return node


def picked(template: Json) -> list[dict[str, bool]]:
    """So many of the allowed combinations that together they show all there is to see.

    Each form that a conditional part takes in any of them is in one of these, and so is each pair
    of conditions in each of the ways in which both can be.
    """
    names = list(template.get("Conditions", {}))
    groups = [*parts(template), *itertools.combinations(names, 2)]
    combinations = allowed(template)
    seen: dict[tuple[int, tuple[bool, ...]], int] = {}  # how a group can be, and its bit
    shown = [
        sum(1 << seen.setdefault(one, len(seen)) for one in _ways(groups, truths))
        for truths in combinations
    ]
    wanted, few = (1 << len(seen)) - 1, []
    while wanted:
        best = max(range(len(shown)), key=lambda number: (shown[number] & wanted).bit_count())
        few.append(combinations[best])
        wanted &= ~shown[best]
    return few or combinations[:1]


def _ways(groups: Sequence[Sequence[str]], truths: Truth) -> Iterator[tuple[int, tuple[bool, ...]]]:
    return ((number, tuple([truths[name] for name in one])) for number, one in enumerate(groups))


def parts(template: Json) -> list[Sequence[str]]:
    """Which conditions each outermost `Fn::If` depends on."""
    outermost = _outermost(template["Resources"])
    return [
        sorted(
            {one["Fn::If"][0] for one in walk(part) if isinstance(one, dict) and "Fn::If" in one}
        )
        for part in outermost
    ]


def _outermost(node: Any) -> Iterator[Json]:
    if isinstance(node, dict) and set(node) == {"Fn::If"}:
        yield node
        return
    for child in children(node):
        yield from _outermost(child)


def children(node: Any) -> Sequence[Any]:
    """What a node of a template holds."""
    return list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else ()


def walk(node: Any) -> Iterator[Any]:
    """Everything in a template, depth first."""
    yield node
    for child in children(node):
        yield from walk(child)
