"""What a message says of a standalone task: how its runs ended, why, and how to start it again."""

import json
import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from notifier import retried, retry_words, standalone, task_runs
from notifier.arns import cluster_name, execution_url, parse_arn, revision_label, task_url
from notifier.diagnosis import diagnose
from notifier.facts import NEVER_STARTED, Facts, StoppedTask
from notifier.model import (
    ContainerOverride,
    Launch,
    Phase,
    Reason,
    RetryStep,
    ServiceState,
    TaskEnd,
    TaskRuns,
)
from notifier.redaction import redacted
from notifier.starting import is_repeated_by_its_caller
from notifier.tasks import ESSENTIAL_EXITED, telling_container

RUNS_SHOWN = 3  # starters and commands of one family
CONTAINERS_SHOWN = 6
STEPS_SHOWN = 6  # of what was tried again, in one reply
COMMAND_AT_MOST = 150  # characters of a command override, shown to tell runs apart
COMMAND_LINE_AT_MOST = 1500  # characters; a longer one would be cut, and be another command
RUNBOOK_SAYS_AT_MOST = 120  # characters, beside the whole in a quote
CUT_OFF = "…"
_ARN = re.compile(r"arn:[^\s;]+; ")
_NAME_IN_ARN = re.compile(r"arn:[a-z-]+:(?:sts|iam)::[0-9]*:(?:assumed-role/|user/)?(.+)")
# Marks what becomes an expansion of the shell, once all is quoted: no argument can hold it.
_NUL = "\0"
_VALUE = re.compile(r"\\u0000(VALUE_OF_\w+)\\u0000", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLine:
    """What a message shows of the runs of one starter and command.

    `failed` says what happened in our words, empty where a failure is over; `why` is our reading of
    it and `reason` ECS's own words; `codes` are the containers' exit codes. `again` starts it
    again. `succeeded_at` is the last success, None when none is known; `why_not_again` says why no
    command is shown. `retried` says how it stands with a run that did not start and is tried again,
    `retried_why` in AWS's words why no more; `has_started`: since then it has.
    """

    starter: str
    command: str
    failed: str
    why: str
    reason: str
    codes: str
    count: int
    failed_at: datetime | None
    succeeded_at: datetime | None
    is_over: bool
    again: str
    why_not_again: str
    revision: str
    url: str
    retried: str
    retried_why: str
    has_started: bool
    is_of_runbook: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryLine:
    """What was done for a run that did not start, in our words; and AWS's where they are new."""

    sign: str
    text: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """What a message shows of a family's tasks; `retries` are only in a reply."""

    sign: str
    name: str
    news: str
    runs: tuple[RunLine, ...]
    more: int
    retries: tuple[RetryLine, ...]
    more_retries: int
    is_over: bool
    not_run: bool


_NEWS = {
    Reason.FAILING_AGAIN: "failing again",
    Reason.FLAPPING: "fails often: counted from now on, told again after a quiet hour",
    Reason.STILL_FAILING: "still failing",
    Reason.ANOTHER_CAUSE: "another cause",
}


def task_line(task: ServiceState, cluster_key: str, route: str | None = None) -> TaskLine:
    """The task for a message: with a `route`, what it was not told yet; else where it stands."""
    steps = _steps_to_tell(task, route) if route is not None else ()
    runs = _shown(task, route, is_tried_again=bool(steps))
    lines = tuple(_run_line(task, one, cluster_key) for one in runs[:RUNS_SHOWN])
    is_over = all(one.is_over for one in lines)
    said = [one.reason for one in task.untold(route)] if route is not None else []
    return TaskLine(
        sign=_sign(lines) if lines or not steps else retry_words.sign(steps[-1][0]),
        name=task.name,
        news=next((_NEWS[one] for one in reversed(said) if one in _NEWS and not is_over), ""),
        runs=lines,
        more=len(runs) - len(lines),
        retries=tuple(_retry_lines(steps[-STEPS_SHOWN:], {one.reason for one in lines})),
        more_retries=len(steps[:-STEPS_SHOWN]),
        is_over=is_over,
        not_run=task.phase is Phase.NOT_RUN,
    )


def task_sign(task: ServiceState, cluster_key: str) -> str:
    """🟠 where all that did not start has started since, and has not ended; 🔴 and ✅ as usual."""
    return task_line(task, cluster_key).sign


def _sign(lines: Sequence[RunLine]) -> str:
    failing = [one for one in lines if not one.is_over]
    if not failing:
        return "✅"
    return "🟠" if all(one.has_started for one in failing) else "🔴"


def _shown(task: ServiceState, route: str | None, *, is_tried_again: bool) -> Sequence[TaskRuns]:
    """What is news; where nothing is, what fails; else what failed last."""
    told = task.told.get(route, 0) if route is not None else task.revision
    runs = [one for one in task_runs.all_runs(task) if task_runs.newest_failure(one)]
    news = [one for one in runs if one.revision > told]
    if news or is_tried_again:
        return news
    return task_runs.failed_runs(task) or runs[-1:]


def _run_line(task: ServiceState, runs: TaskRuns, cluster_key: str) -> RunLine:
    failing = task_runs.failures(runs)
    end = failing[-1] if failing else task_runs.newest_failure(runs)
    launch = (end.launch if end else None) or Launch(task_definition="")
    why = _why(end) if end else ""
    reason = _reason(end) if end else ""
    step = retried.last_step(task.retries, end.task) if end and failing else None
    return RunLine(
        starter=starter_label(_as_first_started(launch, runs)),
        command=_command_label(launch),
        failed=_happened(end) if end else "",
        why=why,
        reason="" if reason == why or reason.startswith(ESSENTIAL_EXITED) else reason,
        codes=_codes(end) if end else "",
        count=len(failing),
        failed_at=end.at if end else None,
        succeeded_at=task_runs.last_success(runs),
        is_over=not failing,
        again="" if end and _runs_anyway(end, step) else command_line(launch, cluster_key),
        why_not_again=_why_not_again(end, step, launch, cluster_key) if end else "",
        revision=revision_label(launch.task_definition),
        url=_url(end, cluster_key) if end else "",
        retried=retry_words.standing(step) if step else "",
        retried_why=step.reason if step and retry_words.says_why(step) else "",
        has_started=step is not None and step.name == retried.STARTED,
        is_of_runbook=bool(end and end.runbook),
    )


def _url(end: TaskEnd, cluster_key: str) -> str:
    """The page of the task, or of the runbook's execution."""
    cluster = parse_arn(cluster_key)
    if end.runbook and cluster:
        return execution_url(cluster.region, end.of) or ""
    return task_url(cluster_key, end.arn) or ""


# --- what was tried again -------------------------------------------------------------------------


def _steps_to_tell(task: ServiceState, route: str) -> Sequence[tuple[RetryStep, bool]]:
    """Each with whether more has happened to its call since, oldest first."""
    told = task.told.get(route, 0)
    steps = [
        (step, step is not call.steps[-1])
        for call in task.retries
        for step in call.steps
        if step.revision > told
    ]
    return sorted(steps, key=lambda one: (one[0].occurred_at, one[0].number))


def _retry_lines(
    steps: Sequence[tuple[RetryStep, bool]], said: Collection[str]
) -> Iterator[RetryLine]:
    """The same reason is quoted once: with the run, or the first time that it comes."""
    quoted = set(said)
    for step, is_past in steps:
        yield RetryLine(
            sign=retry_words.sign(step),
            text=retry_words.sentence(step, is_past=is_past),
            reason="" if step.reason in quoted else step.reason,
        )
        quoted.add(step.reason)


# --- what happened --------------------------------------------------------------------------------


def _happened(end: TaskEnd) -> str:
    """`could not be started`, `failed to start, it never ran`, `failed`, and what nobody knows."""
    if end.runbook:
        return retry_words.of_runbook(end.stop_code, end.runbook, end.step)
    if end.is_in_doubt:
        return "it is not known whether it did its work"
    if not end.arn:
        refused = f" ({end.stop_code})" if end.stop_code else ""
        return f"could not be started{refused}"
    if any(one.exit_code is not None for one in end.containers):
        return "failed"
    return "failed to start, it never ran" if _never_ran(end) else "ended without an exit code"


def _never_ran(end: TaskEnd) -> bool:
    """A host that dies leaves no exit code either, of a task that may have run for hours."""
    return end.stop_code == NEVER_STARTED or end.started_at is None


def _why(end: TaskEnd) -> str:
    """What it means, where ECS's words are known; else those words."""
    if end.runbook:
        said = _ARN.sub("", end.reason)
        return said if len(said) <= RUNBOOK_SAYS_AT_MOST else said[:RUNBOOK_SAYS_AT_MOST] + CUT_OFF
    if end.is_in_doubt:
        return "one of its containers was killed (137), another was done (0): which first?"
    if _is_repeated(end):
        return "AWS did not take the call; who called tries again by itself"
    if not end.arn:
        return diagnose(None, event="", reason=end.reason).cause if end.reason else ""
    stopped = StoppedTask(
        arn=end.arn,
        stop_code=end.stop_code,
        stopped_reason=end.reason,
        started_at=end.started_at,
        stopped_at=end.at,
        containers=end.containers,
    )
    facts = Facts(service="", read_at=end.at, stopped_tasks=(stopped,))
    return diagnose(facts, event="", reason="").cause


def _reason(end: TaskEnd) -> str:
    """ECS's own words, a container's before those that say only that one ended."""
    told = telling_container(end.containers)
    return (told.reason if told else "") or end.reason


def _codes(end: TaskEnd) -> str:
    """`app 1, proxy 143, init never ran`; `none` where a task had begun."""
    without = "never ran" if _never_ran(end) else "none"
    said = [
        f"{one.name} {without if one.exit_code is None else one.exit_code}"
        for one in end.containers
    ]
    more = len(said) - CONTAINERS_SHOWN
    return ", ".join(said[:CONTAINERS_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _as_first_started(launch: Launch, runs: TaskRuns) -> Launch:
    """Whose job it is, where the last to start it was ecs-watch that tried again."""
    own = task_runs.TRIED_AGAIN
    is_again = launch.started_by.startswith(own) and not runs.starter.startswith(own)
    return replace(launch, started_by=runs.starter) if is_again else launch


def starter_label(launch: Launch) -> str:
    """`schedule nightly-report`, `deploy/mika`; a name that may have been cut ends with `…`.

    Of whoever began a runbook IAM's ARN is known.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
    """
    for prefix, kind in task_runs.SCHEDULES.items():
        if launch.started_by.startswith(prefix):
            name = launch.started_by.removeprefix(prefix)
            is_cut = len(launch.started_by) >= task_runs.STARTER_AT_MOST
            return f"{kind} {name}{CUT_OFF if is_cut else ''}"
    who = _NAME_IN_ARN.fullmatch(launch.started_by)
    return who[1] if who else launch.started_by or launch.invoked_by


def _command_label(launch: Launch) -> str:
    commands = [shlex.join(one.command) for one in launch.overrides if one.command]
    text = "; ".join(commands)
    return text if len(text) <= COMMAND_AT_MOST else text[: COMMAND_AT_MOST - 1] + CUT_OFF


def _runs_anyway(end: TaskEnd, step: RetryStep | None) -> bool:
    """Whether somebody sees to it already; of a runbook the link says with which parameters."""
    is_tried_again = step is not None and step.name in (retried.WAITING, retried.STARTED)
    return bool(end.runbook) or is_tried_again or _is_repeated(end)


def _is_repeated(end: TaskEnd) -> bool:
    """Whether the call is repeated anyway, so that a person who starts the job starts it twice."""
    caller = end.launch.invoked_by if end.launch else ""
    return not end.arn and is_repeated_by_its_caller(end.stop_code, end.reason, caller)


def _why_not_again(end: TaskEnd, step: RetryStep | None, launch: Launch, cluster_key: str) -> str:
    if end.runbook:
        return ""
    if _runs_anyway(end, step):
        return "No command to start it again is shown: it could run twice."
    lacks = ", ".join(lacking(launch, cluster_key)) if launch.task_definition else ""
    return f"No command to start it again is shown: it would lack {lacks}." if lacks else ""


# --- how to start it again ------------------------------------------------------------------------


def command_line(launch: Launch, cluster_key: str) -> str:
    """What starts it again in a shell; `…` stands for what is not known, and ECS refuses it.

    A variable's value is one of the shell's, which refuses as long as it has none. Empty where it
    would start another job: the task definition is not known, `lacking` names something, or it is
    too long to be shown whole. https://docs.aws.amazon.com/cli/latest/reference/ecs/run-task.html
    """
    line = _line(launch, cluster_key)
    return "" if len(line) > COMMAND_LINE_AT_MOST or lacking(launch, cluster_key) else line


def lacking(launch: Launch, cluster_key: str) -> Sequence[str]:
    """What a command would have to say to start the same job, and does not, or must not."""
    line = _line(launch, cluster_key)
    variables = [_variable(name) for one in launch.overrides for name in one.environment]
    are_alike = len(set(variables)) < len(variables)  # one variable of the shell for two values
    besides = {"environment": are_alike, "a secret": redacted(line) != line}
    return (*launch.left_out, *(what for what, lacks in besides.items() if lacks))


def _line(launch: Launch, cluster_key: str) -> str:
    if not launch.task_definition:
        return ""
    words = ["aws", "ecs", "run-task", "--cluster", cluster_name(cluster_key)]
    words += ["--task-definition", revision_label(launch.task_definition)]
    words += [*_where(launch), *_network(launch), *_overrides(launch.overrides)]
    return _VALUE.sub(r"""'"${\1:?}"'""", shlex.join(words))


def _where(launch: Launch) -> Iterator[str]:
    if launch.capacity_provider:
        yield from ("--capacity-provider-strategy", f"capacityProvider={launch.capacity_provider}")
    elif launch.launch_type:
        yield from ("--launch-type", launch.launch_type)
    if launch.platform_version:
        yield from ("--platform-version", launch.platform_version)


def _network(launch: Launch) -> Iterator[str]:
    """A task's own event says its subnet and not its security groups."""
    if not launch.subnets:
        return
    subnets, groups = (
        ",".join(launch.subnets),
        ",".join(launch.security_groups) or standalone.UNKNOWN,
    )
    public = f",assignPublicIp={launch.public_ip}" if launch.public_ip else ""
    settings = f"subnets=[{subnets}],securityGroups=[{groups}]{public}"
    yield from ("--network-configuration", f"awsvpcConfiguration={{{settings}}}")


def _overrides(overrides: Sequence[ContainerOverride]) -> Iterator[str]:
    if not overrides:
        return
    asked = [
        {
            "name": one.name,
            **({"command": list(one.command)} if one.command else {}),
            **({"environment": _without_values(one)} if one.environment else {}),
        }
        for one in overrides
    ]
    yield "--overrides"
    yield json.dumps({"containerOverrides": asked}, ensure_ascii=False, separators=(",", ":"))


def _without_values(override: ContainerOverride) -> list[dict[str, str]]:
    """The value stands first: behind a name such as `TOKEN` it would be redacted."""
    return [
        {"value": f"{_NUL}{_variable(name)}{_NUL}", "name": name} for name in override.environment
    ]


def _variable(name: str) -> str:
    """The shell's variable for the value; never one that a shell has anyway, such as PATH."""
    return "VALUE_OF_" + re.sub(r"\W", "_", name, flags=re.ASCII)
