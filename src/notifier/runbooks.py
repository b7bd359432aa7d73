"""A runbook of ours that failed: from what Systems Manager says of it to what the watcher tells.

Its event has neither the cluster nor a reason; both stand in the execution.
https://docs.aws.amazon.com/systems-manager/latest/userguide/monitoring-systems-manager-event-examples.html
https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_AutomationExecution.html
"""

import json
from collections.abc import Mapping
from typing import Any

from notifier.asked import family_of

DETAIL_TYPE = "ECS Watch Runbook Failed"
EXECUTION_STATE_CHANGE = "EC2 Automation Execution Status-change Notification"
FAILED = ("Failed", "TimedOut", "Cancelled")
_LONGEST_REASON = 4_000  # characters; an event of EventBridge holds 256 KB


def failed_execution(body: str, runbook: str) -> str | None:
    """The id of the execution of this runbook that failed; None for any other event."""
    event = json.loads(body)
    detail = event.get("detail") or {}
    is_ours = (
        event.get("source") == "aws.ssm"
        and event.get("detail-type") == EXECUTION_STATE_CHANGE
        and detail.get("Definition") == runbook
        and detail.get("Status") in FAILED
    )
    return str(detail["ExecutionId"]) if is_ours else None


def event_of(execution: Mapping[str, Any], partition: str, account: str, region: str) -> Any:
    """What the watcher is sent. `execution` is GetAutomationExecution's `AutomationExecution`."""
    given = execution.get("Parameters", {})
    cluster, task_definition = _one(given, "Cluster") or "default", _one(given, "TaskDefinition")
    step = _failed_step(execution)
    reason = step.get("FailureMessage") or execution.get("FailureMessage") or ""
    named = f"arn:{partition}:ecs:{region}:{account}:cluster/{cluster}"
    ended_at = execution.get("ExecutionEndTime")
    return {
        "id": execution["AutomationExecutionId"],
        "eventName": f"RUNBOOK_{str(execution['AutomationExecutionStatus']).upper()}",
        "clusterArn": cluster if cluster.startswith("arn:") else named,
        "family": family_of(task_definition),
        "taskDefinition": task_definition,
        "runbook": execution.get("DocumentName", ""),
        "executionId": execution["AutomationExecutionId"],
        "step": step.get("StepName", ""),
        "reason": str(reason)[:_LONGEST_REASON],
        "startedBy": str(execution.get("ExecutedBy", "")),
        "updatedAt": ended_at.isoformat(timespec="milliseconds") if ended_at else None,
    }


def _one(given: Mapping[str, Any], name: str) -> str:
    return str(next(iter(given.get(name, ())), ""))


def _failed_step(execution: Mapping[str, Any]) -> Mapping[str, Any]:
    """The innermost that failed: a loop fails with its step, and comes before it."""
    steps: list[Mapping[str, Any]] = execution.get("StepExecutions", [])
    failed = [one for one in steps if one.get("StepStatus") in FAILED and one.get("FailureMessage")]
    inner = [one for one in failed if one.get("Action") != "aws:loop"]
    return next(iter((*inner, *failed)), {})
