"""What a RunTask call asked for, from CloudTrail's record of it, to the letter.

Who starts a job again may not guess: what the record hides, cuts or leaves open is named in
`wrong`, and such a call is never repeated.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifier.events import parse
from notifier.model import ApiCall

Request = Mapping[str, Any]

RUN_TASK = "RunTask"
# Of the request, what belongs to one call and not to the job.
OF_THE_CALL = frozenset({"clientToken", "startedBy", "count"})

# What stands in a record instead of a value, or of its end.
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
_BESIDE = r"[\w .,:+*-]{0,60}"
_MASKED = re.compile(
    r"HIDDEN_DUE_TO_SECURITY_REASONS|VALUE_SPECIFIED_IN_NO_LOG_PARAMETER|\*{3,}|:x{5}@"
    # by itself, with or without brackets
    r"|\A\W*(?:data\+)?(?:masked|redacted|omitted|truncated|sensitive)\W*\Z"
    rf"|\A[<\[(]{_BESIDE}(?:hidden|removed|filtered|sensitive|redacted|masked|truncated|omitted"
    rf"|withheld|secret){_BESIDE}[>\])]\Z"
    # at the end of what was cut; `$(…)` is a shell's
    rf"|(?<!\$)[<\[(]{_BESIDE}(?:truncated|omitted|redacted|masked){_BESIDE}[>\])]\Z"
    r"|(?:…|\.\.\.)(?: ?[0-9]+ more \w+)?\Z|truncated\W*\Z",
    re.IGNORECASE,
)
# 255 letters, digits, underscores and hyphens at most, then the revision, which may be left out.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html
_FAMILY = re.compile(
    r"(?:arn:aws[a-z-]*:ecs:[a-z0-9-]+:[0-9]{12}:task-definition/)?([A-Za-z0-9_-]{1,255})(?::[0-9]+)?"
)
# Who called by hand: users, and roles that IAM Identity Center makes for them.
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
_PEOPLE = frozenset({"IAMUser", "Root", "IdentityCenterUser"})
_MOST_TASKS = 10  # of one call: API_RunTask (count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A RunTask call that did not start all it was asked for.

    `request` has all parameters but those of the call itself. `count` tasks were asked for and
    `started` of them started. `starter` is the call's own `startedBy`. `wrong` says why the call
    cannot be repeated to the letter; empty where it can.
    """

    event_id: str
    account: str
    region: str
    cluster_arn: str
    family: str
    request: Request
    count: int
    started: int
    starter: str
    at: datetime
    reasons: tuple[str, ...]
    error_code: str
    error_message: str
    role: str
    invoked_by: str
    by_a_person: bool
    wrong: str


def asked(body: str) -> Asked | None:
    """The call that this event records; None where it is none of RunTask, or is no failure.

    Raises MalformedEvent for what is no event of EventBridge.
    """
    event = parse(body)
    detail = json.loads(body)["detail"]
    if not isinstance(event, ApiCall) or event.name != RUN_TASK:
        return None
    if not event.failure_reasons and not event.error_code:
        return None
    request = detail.get("requestParameters")
    request = request if isinstance(request, Mapping) else {}
    return Asked(
        event_id=str(detail.get("eventID") or event.id),
        account=event.account,
        region=event.region,
        cluster_arn=event.cluster_arn or "",
        family=family_of(request.get("taskDefinition")),
        request={name: value for name, value in request.items() if name not in OF_THE_CALL},
        count=_count(request),
        started=len(_tasks(detail) or ()),
        starter=str(request.get("startedBy") or ""),
        at=event.occurred_at,
        reasons=event.failure_reasons,
        error_code=event.error_code,
        error_message=event.reason,
        role=event.caller.role,
        invoked_by=event.caller.invoked_by,
        by_a_person=event.caller.type in _PEOPLE or event.caller.is_of_identity_center,
        wrong=next(_wrong(event, request, detail), ""),
    )


def family_of(task_definition: object) -> str:
    """The family in an ARN, in `family:revision` or by itself; empty where there is none."""
    named = _FAMILY.fullmatch(task_definition) if isinstance(task_definition, str) else None
    return named[1] if named else ""


def _wrong(event: ApiCall, request: Request, detail: Mapping[str, Any]) -> Iterator[str]:
    if not request:
        yield "the record does not have the request"
    if not family_of(request.get("taskDefinition")):
        yield "the record does not name the task definition"
    if not event.cluster_arn:
        yield "the record does not name the cluster"
    if not 1 <= _count(request) <= _MOST_TASKS:
        yield "the record's count is not one that ECS takes"
    if hidden := next(_hidden(request), ""):
        yield f"the record hides or cuts {hidden}"
    if event.error_code:
        return
    tasks = _tasks(detail)
    if tasks is None:
        yield "the record does not say how many tasks started"
    elif len(tasks) >= _count(request):
        yield "the record says that all tasks started"


def _count(request: Request) -> int:
    """The default value is 1: API_RunTask. 0 for what is no number."""
    count = request.get("count", 1)
    return count if isinstance(count, int) and not isinstance(count, bool) else 0


def _tasks(detail: Mapping[str, Any]) -> list[Any] | None:
    answer = detail.get("responseElements")
    tasks = answer.get("tasks") if isinstance(answer, Mapping) else None
    return tasks if isinstance(tasks, list) else None


def _hidden(value: object, path: str = "") -> Iterator[str]:
    """Where in the request something is not what the caller gave. Never the value itself."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _hidden(part, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list):
        for part in value:
            yield from _hidden(part, path)
    elif value is None or (isinstance(value, str) and _MASKED.search(value)):
        yield path
