"""Plays a runbook as Systems Manager Automation would, as far as our runbook uses it.

Steps one after another; `aws:executeScript` with its inline Python, and `aws:loop` until its
condition is no longer met. A step that fails ends the execution with its message.
https://docs.aws.amazon.com/systems-manager/latest/userguide/automation-actions.html
"""

import builtins
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from botocore.exceptions import ClientError, HTTPClientError

_WHOLE = re.compile(r"\{\{ *([\w.:]+) *\}\}")
EXECUTION_ID = "333ba70b-2333-48db-b17e-a5e69c6f4d1c"
_TYPES: Mapping[str, Any] = {
    "String": str,
    "Integer": int,
    "Boolean": bool,
    "StringList": list,
    "StringMap": dict,
}
LONGEST_SCRIPT = 600  # seconds
# "total_max_attempts": in the SDK's mode `legacy`, which is its default.
# https://docs.aws.amazon.com/boto3/latest/guide/retries.html
SDK_SENDS = 5


class StepFailed(Exception):
    """A step failed, and so did the execution: the step's name and its message."""

    def __init__(self, step: str, message: str) -> None:
        super().__init__(f"{step}: {message}")
        self.step = step
        self.message = message


@dataclass
class Clock(ModuleType):
    """The module `time` of the scripts; sleeping is how it goes on."""

    now: float = 1_000_000.0

    def __post_init__(self) -> None:
        super().__init__("time")

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Client:
    """What boto3 gives: it sends a request again by itself, as often as its configuration says."""

    of: Any
    config: Any = None

    def __getattr__(self, operation: str) -> Any:
        retries = getattr(self.config, "retries", None) or {}
        sends = retries.get("total_max_attempts", SDK_SENDS)

        def call(**request: Any) -> Any:
            for left in reversed(range(sends)):
                try:
                    return getattr(self.of, operation)(**request)
                except (HTTPClientError, ClientError) as error:
                    if not left or not _is_sent_again(error):
                        raise
            raise AssertionError(f"{sends} is no number of times")

        return call


def _is_sent_again(error: HTTPClientError | ClientError) -> bool:
    if isinstance(error, HTTPClientError):
        return True
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return error.response["Error"]["Code"] == "ThrottlingException" or status >= 500


@dataclass
class Execution:
    """One execution. `clients` are what boto3 gives the scripts, by service."""

    content: Mapping[str, Any]
    clients: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    steps: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Play it to its end; raises StepFailed."""
        defined = self.content["parameters"]
        assert set(self.given) <= set(defined)
        for name, parameter in defined.items():
            value = self.given[name] if name in self.given else parameter["default"]
            assert isinstance(value, _TYPES[parameter["type"]]), name
            assert value in parameter.get("allowedValues", [value]), name
            self.values[name] = value
        self.values["automation:EXECUTION_ID"] = EXECUTION_ID
        self._play(self.content["mainSteps"])

    def _play(self, steps: Sequence[Mapping[str, Any]]) -> None:
        for step in steps:
            assert "nextStep" not in step, "not known here"
            assert step.get("onFailure", "Abort") == "Abort", "not known here"
            self.steps.append(step["name"])
            match step["action"]:
                case "aws:executeScript":
                    self._script(step)
                case "aws:loop":
                    self._loop(step)
                case other:
                    raise AssertionError(f"{other} is not known here")

    def _loop(self, step: Mapping[str, Any]) -> None:
        inputs = step["inputs"]
        condition = inputs["LoopCondition"]
        for _ in range(inputs["MaxIterations"]):
            self._play(inputs["Steps"])
            if self._filled(condition["Variable"]) is not condition["BooleanEquals"]:
                return

    def _script(self, step: Mapping[str, Any]) -> None:
        inputs, began = step["inputs"], self.clock.now
        assert inputs["Runtime"] == "python3.11"
        scope: dict[str, Any] = {"__builtins__": {**vars(builtins), "__import__": self._import}}
        payload = json.loads(json.dumps(self._filled(inputs["InputPayload"])))
        try:
            exec(compile(inputs["Script"], step["name"], "exec"), scope)
            answer = scope[inputs["Handler"]](payload, {})
        except Exception as error:
            raise StepFailed(step["name"], str(error)) from error
        assert self.clock.now - began <= min(step["timeoutSeconds"], LONGEST_SCRIPT)
        answer = json.loads(json.dumps(answer))
        for output in step.get("outputs", ()):
            value = answer[output["Selector"].removeprefix("$.Payload.")]
            assert isinstance(value, _TYPES[output["Type"]])
            self.values[f"{step['name']}.{output['Name']}"] = value

    def _import(self, name: str, *more: Any) -> Any:
        if name == "time":
            return self.clock
        if name == "boto3":
            module = ModuleType("boto3")
            module.client = lambda of, config=None: Client(self.clients[of], config)  # type: ignore[attr-defined]
            return module
        return builtins.__import__(name, *more)

    def _filled(self, node: Any) -> Any:
        if isinstance(node, Mapping):
            return {name: self._filled(one) for name, one in node.items()}
        if isinstance(node, str) and (whole := _WHOLE.fullmatch(node)):
            return self.values[whole[1]]
        assert "{{" not in str(node), "only whole values are filled in here"
        return node
