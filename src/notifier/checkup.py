"""What is wrong with the watcher itself: pure judgements over what was read of its own stack.

The tick asks them every hour and `ecs-watch doctor` whenever somebody wants to know. What could
not be read is taken neither for broken nor for well: it was not seen, with the reason.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

from notifier.model import Checkup, GivenUp, Heard, Refusal, Refused, Unknown

HEARTBEAT = "heartbeat of "
SILENT_AFTER = timedelta(minutes=45)  # three heartbeats
FORGET_AFTER = timedelta(days=7)  # without a heartbeat of a member: it is watched no more
FORGOTTEN = f"is forgotten after {FORGET_AFTER.days} days without one"
TICKED_WITHIN = timedelta(minutes=10)
CHECK_EVERY = timedelta(hours=1)
TRIES = 10  # that the queue allows a message, as template.yaml has it
TICKED_EVERY = timedelta(minutes=4)
REVERT = "revert it by a drift-aware change set (README: When something was changed by hand)"
REDRIVE = "mend what it was, then run `ecs-watch redrive`"


class Verdict(StrEnum):
    """Works, fails, could not be seen, or is left open by whoever set the watcher up."""

    WORKS = "✓"
    FAILS = "✗"
    UNSEEN = "?"
    OPEN = "–"  # noqa: RUF001 a dash that is seen beside the two signs


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `todo` is what to do, or what is lost without it.

    `command` does it; it is long, and for a shell alone.
    """

    check: str
    verdict: Verdict
    says: str
    todo: str = ""
    command: str = ""

    @property
    def line(self) -> str:
        """The finding as a sentence."""
        where = " (`ecs-watch doctor` prints the command)" if self.command else ""
        return f"{self.check} {self.says}" + (f": {self.todo}{where}" if self.todo else "")


# --- what was read ----------------------------------------------------------------------------


NO_PERMISSION = "no permission"


@dataclass(frozen=True, slots=True)
class Unread:
    """What could not be read, and why in a word."""

    why: str
    is_gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSeen:
    """A rule of EventBridge: ARN, pattern or schedule, and the ARNs of what it sends to.

    `dead_letters` are the ARNs of the queues for what it cannot deliver.
    """

    arn: str
    is_enabled: bool
    pattern: Mapping[str, Any] | None = None
    schedule: str = ""
    targets: tuple[str, ...] = ()
    dead_letters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSeen:
    """A queue: ARN, policy, and how many messages wait in it.

    `gives_up_to` is the ARN of the queue for what was received `tries` times in vain.
    """

    arn: str
    url: str = ""
    policy: Mapping[str, Any] = field(default_factory=dict)
    waiting: int = 0
    gives_up_to: str = ""
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingSeen:
    """An event source mapping: its state, and the ARN of the function it invokes."""

    state: str
    function_arn: str
    uuid: str = "UUID"

    @property
    def function(self) -> str:
        """The function's name; its ARN may end in an alias.

        https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
        """
        return "".join(self.function_arn.split(":")[6:7])


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom Slack takes us for, and what the token may do; None where Slack does not say."""

    team: str
    user: str
    scopes: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSeen:
    """A channel as Slack shows it to the bot."""

    name: str
    is_archived: bool
    is_member: bool


# --- rules and queues -------------------------------------------------------------------------


@cache
def shipped_rules() -> Mapping[str, Mapping[str, Any]]:
    """The rules as this version has them in template.yaml, by logical id: pattern or schedule."""
    text = files("notifier").joinpath("rules.json").read_text("utf-8")
    shipped: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return shipped


def rule(logical_id: str, name: str, seen: RuleSeen | Unread, target: str) -> Finding:
    """Whether a rule is enabled, as shipped, and sends to `target`: an ARN, or the end of one."""
    check = f"rule {logical_id}"
    if isinstance(seen, Unread):
        return _unread(check, seen, REVERT)
    if not seen.is_enabled:
        return _fails(check, "is disabled", f"run `aws events enable-rule --name {name}`")
    if not any(arn == target or arn.endswith(f":{target}") for arn in seen.targets):
        return _fails(check, "does not send to what it should", REVERT)
    return _as_shipped(check, seen, shipped_rules().get(logical_id))


def _as_shipped(check: str, seen: RuleSeen, shipped: Mapping[str, Any] | None) -> Finding:
    if shipped is None:
        return Finding(check, Verdict.UNSEEN, "is none that this version ships", "compare versions")
    if seen.schedule != shipped.get("schedule", ""):
        return _fails(check, f"has the schedule {seen.schedule or 'none'}", REVERT)
    if seen.pattern != _filled(shipped.get("pattern"), seen.arn):
        return _fails(check, "has another pattern than this version ships", REVERT)
    return _works(check, "is enabled and as shipped")


def _filled(pattern: Any, rule_arn: str) -> Any:
    """The pattern with the account and region that the template leaves to CloudFormation."""
    known = dict(zip(("AWS::Region", "AWS::AccountId"), rule_arn.split(":")[3:5], strict=False))
    if isinstance(pattern, dict):
        if pattern.keys() == {"Ref"}:
            return known.get(pattern["Ref"], pattern)
        return {key: _filled(value, rule_arn) for key, value in pattern.items()}
    if isinstance(pattern, list):
        return [_filled(value, rule_arn) for value in pattern]
    return pattern


SET_POLICY = "set the whole policy as it was deployed"


def events_queue(name: str, seen: QueueSeen | Unread) -> Finding:
    """Whether the queue exists that the rules fill."""
    check = f"queue {name}"
    return _unread(check, seen, REVERT) if isinstance(seen, Unread) else _works(check, "is there")


def redrive_policy(
    queue: QueueSeen | Unread,
    rules: Iterable[RuleSeen | Unread],
    dead_letter_queues: Iterable[QueueSeen | Unread],
) -> Finding:
    """Whether what cannot be taken in ends in the dead-letter queue that is not the rules'.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html
    """
    check = "redrive policy"
    if isinstance(queue, Unread):
        return _not_judged(check, queue)
    of_rules = {arn for one in rules if isinstance(one, RuleSeen) for arn in one.dead_letters}
    queues = list(dead_letter_queues)
    known = {one.arn for one in queues if isinstance(one, QueueSeen)} - of_rules
    if queue.gives_up_to in known:
        name = _name(queue.gives_up_to)
        return _works(check, f"sends what fails {queue.tries} times to {name}")
    if queue.gives_up_to and any(isinstance(one, Unread) for one in queues):
        todo = "see the dead-letter queues beside it"
        return Finding(check, Verdict.UNSEEN, "could not be judged", todo)
    says = f"sends to {_name(queue.gives_up_to)}" if queue.gives_up_to else "is gone"
    todo = "without it what cannot be read is tried for two weeks and then lost; set it again"
    return Finding(check, Verdict.FAILS, says, todo, _redrive_to(queue, sorted(known)))


def _redrive_to(queue: QueueSeen, known: Sequence[str]) -> str:
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html."""
    if len(known) != 1:
        return ""
    redrive = {"deadLetterTargetArn": known[0], "maxReceiveCount": TRIES}
    return _set_attribute(queue, "RedrivePolicy", redrive)


def _policy_of(queue: QueueSeen, rule_arns: Iterable[str]) -> str:
    """Sets what template.yaml says of a queue that rules send to."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
    }
    return _set_attribute(queue, "Policy", {"Version": "2012-10-17", "Statement": [statement]})


def _set_attribute(queue: QueueSeen, name: str, value: Mapping[str, Any]) -> str:
    attributes = shlex.quote(json.dumps({name: json.dumps(value)}))
    return f"aws sqs set-queue-attributes --queue-url {queue.url} --attributes {attributes}"


def _name(arn: str) -> str:
    return arn.rpartition(":")[2]


def _not_judged(check: str, queue: Unread) -> Finding:
    """Of what belongs to a queue nothing is known where the queue itself was not seen."""
    if queue.is_gone:
        todo = "see the queue beside it"
        return Finding(check, Verdict.UNSEEN, "could not be judged: there is no queue", todo)
    return _unread(check, queue, REVERT)


def queue_policy(queue: QueueSeen | Unread, rule_arns: Iterable[str]) -> Finding:
    """Whether the queue takes what these rules send."""
    check = "queue policy"
    if isinstance(queue, Unread):
        return _not_judged(check, queue)
    answers = {arn: _may_send(queue, arn) for arn in rule_arns}
    if not answers:
        return Finding(check, Verdict.UNSEEN, "could not be judged: no rule is known", REVERT)
    refused = [arn.rpartition("/")[2] for arn, may in answers.items() if may is False]
    if refused:
        says = f"does not let {', '.join(refused)} send"
        return Finding(check, Verdict.FAILS, says, SET_POLICY, _policy_of(queue, answers))
    if None in answers.values():
        todo = "look at it"
        return Finding(check, Verdict.UNSEEN, "has conditions that are not judged here", todo)
    return _works(check, "lets the rules send")


def dead_letter_policy(
    rules: Iterable[RuleSeen | Unread], queues: Iterable[QueueSeen | Unread]
) -> Finding:
    """Whether there is a queue that takes what each of the rules cannot deliver.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
    """
    check = "dead-letter queue policy"
    known = {one.arn: one for one in queues if isinstance(one, QueueSeen)}
    answers = [(one, _may_give_up(one, known)) for one in rules]
    seen = [one for one, _ in answers if isinstance(one, RuleSeen)]
    refused = [one for one, may in answers if isinstance(one, RuleSeen) and may is False]
    if refused:
        names = ", ".join(one.arn.rpartition("/")[2] for one in refused)
        says = f"does not take what {names} cannot deliver"
        used = {arn for one in seen for arn in one.dead_letters}
        is_of_targets = len(seen) != len(answers) or not all(one.dead_letters for one in refused)
        if is_of_targets or len(used) != 1 or not used <= known.keys():
            return _fails(check, says, REVERT)
        command = _policy_of(known[used.pop()], (one.arn for one in seen))
        return Finding(check, Verdict.FAILS, says, SET_POLICY, command)
    if not answers or None in [may for _, may in answers]:
        todo = "see the rules and dead-letter queues beside it"
        return Finding(check, Verdict.UNSEEN, "could not be judged", todo)
    return _works(check, "takes what the rules cannot deliver")


def _may_give_up(rule: RuleSeen | Unread, queues: Mapping[str, QueueSeen]) -> bool | None:
    if isinstance(rule, Unread):
        return None
    if not rule.dead_letters:
        return False
    answers = [
        _may_send(queues[arn], rule.arn) if arn in queues else None for arn in rule.dead_letters
    ]
    return False if False in answers else None if None in answers else True


def _may_send(queue: QueueSeen, rule_arn: str) -> bool | None:
    """Whether EventBridge may send for this rule; None when a condition is not understood.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    """
    statements = [
        one for one in _list(queue.policy.get("Statement")) if _is_about_sending(one, queue.arn)
    ]
    held = [(one.get("Effect"), _holds(one.get("Condition", {}), rule_arn)) for one in statements]
    if ("Deny", True) in held:
        return False
    if ("Deny", None) in held:
        return None
    if ("Allow", True) in held:
        return True
    return None if ("Allow", None) in held else False


def _is_about_sending(statement: Mapping[str, Any], queue_arn: str) -> bool:
    principal = statement.get("Principal")
    services = _list(principal.get("Service")) if isinstance(principal, Mapping) else []
    is_ours = principal == "*" or "events.amazonaws.com" in services or principal == {"AWS": "*"}
    actions = [str(one).lower() for one in _list(statement.get("Action"))]
    sends = any(fnmatchcase("sqs:sendmessage", action) for action in actions)
    resources = [str(one) for one in _list(statement.get("Resource", "*"))]
    return is_ours and sends and any(fnmatchcase(queue_arn, one) for one in resources)


_SOURCE_OPERATORS = {"ArnEquals", "ArnLike", "StringEquals", "StringLike"}


def _holds(condition: Mapping[str, Any], rule_arn: str) -> bool | None:
    """Whether a condition holds for this rule; only `aws:SourceArn` is understood."""
    holds: bool | None = True
    for operator, keys in condition.items():
        for key, values in keys.items():
            if operator not in _SOURCE_OPERATORS or key.lower() != "aws:sourcearn":
                holds = None if holds else holds
            elif not any(fnmatchcase(rule_arn, str(value)) for value in _list(values)):
                holds = False
    return holds


def dead_letters(name: str, queue: QueueSeen | Unread) -> Finding:
    """Whether a dead-letter queue is empty."""
    check = f"dead-letter queue {name}"
    if isinstance(queue, Unread):
        return _unread(check, queue, REVERT)
    if queue.waiting:
        return _fails(check, f"has {counted(queue.waiting, 'message')}", REDRIVE)
    return _works(check, "is empty")


# --- functions and table ----------------------------------------------------------------------


_TAKING = {"Enabled", "Enabling", "Creating", "Updating"}


def mapping(seen: Sequence[MappingSeen] | Unread, function: str = "") -> Finding:
    """Whether `function` takes messages from the queue, and no other one does.

    Which that is may not be known; then it is only one.
    https://docs.aws.amazon.com/lambda/latest/api/API_EventSourceMappingConfiguration.html
    """
    check = "event source mapping"
    if isinstance(seen, Unread):
        return _unread(check, seen, REVERT)
    if not seen:
        return _fails(check, "does not exist", REVERT)
    if whose := _of_others(seen, function):
        return _fails(check, whose, _without_others(seen, function))
    states = {one.state for one in seen}
    if not states & _TAKING:
        ours = [one.uuid for one in seen if one.function == function] or [one.uuid for one in seen]
        todo = f"run `aws lambda update-event-source-mapping --enabled --uuid {ours[0]}`"
        return _fails(check, f"is {', '.join(sorted(states)).lower()}", todo)
    return _works(check, "is enabled")


def _without_others(seen: Sequence[MappingSeen], function: str) -> str:
    if not function:
        return "delete the mappings that are not of on_events"
    uuids = [one.uuid for one in seen if one.function != function]
    delete = [f"run `aws lambda delete-event-source-mapping --uuid {one}`" for one in uuids]
    is_ours_there = function in {one.function for one in seen}
    return "; ".join([*delete, *([] if is_ours_there else [REVERT])])


def _of_others(seen: Sequence[MappingSeen], function: str) -> str:
    """What is wrong with who takes messages; nothing where it is one function, and ours."""
    takers = sorted({one.function for one in seen if one.state in _TAKING})
    if not function:
        return f"is of several functions: {', '.join(takers)}" if len(takers) > 1 else ""
    if function not in {one.function for one in seen}:
        return f"is of another function: {', '.join(sorted({one.function for one in seen}))}"
    others = [name for name in takers if name != function]
    return f"is also of another function: {', '.join(others)}" if others else ""


def unknown_functions(mappings: Unread) -> Finding:
    """That nobody knows which functions take messages: of each, what was known of it holds on."""
    return _unread("function", mappings, REVERT)


def concurrency(function: str, reserved: int | Unread | None) -> Finding:
    """Whether the function may run: a reserved concurrency of 0 throttles every invocation."""
    check = f"function {function}"
    if isinstance(reserved, Unread):
        return _unread(check, reserved, REVERT)
    if reserved == 0:
        todo = f"run `aws lambda delete-function-concurrency --function-name {function}`"
        return _fails(check, "is throttled: its reserved concurrency is 0", todo)
    return _works(check, "may run")


def table(name: str, status: str | Unread) -> Finding:
    """Whether the table can be read and written."""
    check = f"table {name}"
    if isinstance(status, Unread):
        return _unread(check, status, _restoring(name))
    if status not in ("ACTIVE", "UPDATING"):
        return _fails(check, f"is {status}", "see what happens to it in the DynamoDB console")
    return _works(check, f"is {status}")


def _restoring(name: str) -> str:
    """DynamoDB keeps a backup of a table that was deleted while it had point-in-time recovery.

    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/PointInTimeRecovery_Howitworks.html#howitworks-pitr-deleting-table
    """
    return (
        f"restore it: `aws dynamodb list-backups --backup-type SYSTEM --table-name {name}` names "
        "the BackupArn of the last 35 days, then `aws dynamodb restore-table-from-backup "
        f"--target-table-name {name} --backup-arn ARN`; then switch time to live and "
        "point-in-time recovery on again, as `ecs-watch doctor` says"
    )


# --- Slack ------------------------------------------------------------------------------------

# https://docs.slack.dev/reference/scopes
SCOPES = {
    "chat:write": "nothing can be told",
    "channels:history": "in public channels a message may now and then come twice",
    "groups:history": "in private channels a message may now and then come twice",
    "reactions:write": "a thread's first message gets no mark when all is over",
    "channels:read": "a public channel that is archived or without the bot is known only when a "
    "post is refused",
    "groups:read": "the same of private channels",
}
ANOTHER = "put a valid bot token into the secret; it is read anew, nothing is to be deployed"
_DO = {
    "secret_unavailable": "create the secret, or let the role read it and use its key",
    "secret_malformed": "put the bot token alone into the secret",
}


def token(seen: Identity | Refused | Unknown) -> Finding:
    """Whether Slack takes the token."""
    match seen:
        case Identity():
            return _works("Slack token", f"is valid: {seen.user} in {seen.team}")
        case Refused(refusal=Refusal.CREDENTIALS):
            return _fails("Slack token", f"is refused: {seen.code}", _DO.get(seen.code, ANOTHER))
    return Finding("Slack token", Verdict.UNSEEN, f"could not be tried: {seen.code}", "try again")


def scopes(seen: Identity | Refused | Unknown) -> Iterator[Finding]:
    """What the token may do, and what each missing scope costs."""
    known = seen.scopes if isinstance(seen, Identity) else None
    for scope, cost in SCOPES.items():
        check = f"Slack scope {scope}"
        if known is None:
            yield Finding(check, Verdict.UNSEEN, "is not known", "Slack did not say")
        elif scope in known:
            yield _works(check, "is there")
        else:
            verdict = Verdict.FAILS if scope == "chat:write" else Verdict.OPEN
            yield Finding(check, verdict, "is missing", cost)


def channel(channel_id: str, seen: ChannelSeen | Refused | Unknown) -> Finding:
    """Whether a channel takes posts of the bot."""
    check = f"channel {channel_id}"
    invite = "invite the bot there (`/invite @ecs-watch`), or change Channels"
    match seen:
        case ChannelSeen(is_archived=True):
            return _fails(check, f"(#{seen.name}) is archived", "unarchive it, or change Channels")
        case ChannelSeen(is_member=False):
            return _fails(check, f"(#{seen.name}) is without the bot", invite)
        case ChannelSeen():
            return _works(check, f"(#{seen.name}) is open and the bot is in it")
        case Refused(code="missing_scope"):
            todo = "give the app channels:read and groups:read"
            return Finding(check, Verdict.OPEN, "cannot be looked at", todo)
        case Refused(refusal=Refusal.CHANNEL):
            return _fails(check, f"cannot be seen: {seen.code}", invite)
    return Finding(check, Verdict.UNSEEN, f"could not be looked at: {seen.code}", "try again")


# --- what should come by itself -----------------------------------------------------------------


def heartbeat_of(one: Heard) -> str:
    """The check of its heartbeat."""
    return f"{HEARTBEAT}{one.account} {one.region}"


def is_silent(one: Heard, now: datetime) -> bool:
    """Whether three heartbeats are missing."""
    return now - one.at > SILENT_AFTER


def heartbeats(heard: Iterable[Heard], now: datetime) -> Iterator[Finding]:
    """Whether each account and region was heard of in the last 45 minutes."""
    for one in sorted(heard, key=lambda one: (one.account, one.region)):
        check = heartbeat_of(one)
        if is_silent(one, now):
            todo = "check that its rules are enabled and may send to the watcher's bus and queue"
            yield _fails(check, f"was last heard {one.at:%Y-%m-%d %H:%M} UTC", todo)
        else:
            yield _works(check, f"came {_ago(now - one.at)} ago")


def is_stale(known: Checkup, now: datetime) -> bool:
    """Whether it is time to look at all of it again."""
    return known.checked_at is None or now - known.checked_at >= CHECK_EVERY


def tick(known: Checkup, now: datetime) -> Finding:
    """Whether the schedule runs; a tick leaves its time every few minutes."""
    todo = "check the rule EveryMinute and the log of on_tick"
    if known.ticked_at is None:
        return _fails("tick", "never ran", todo)
    ago = now - known.ticked_at
    if ago > TICKED_WITHIN:
        return _fails("tick", f"ran last {_ago(ago)} ago", todo)
    return _works("tick", f"ran in the last {int(TICKED_WITHIN.total_seconds() // 60)} min")


def given_up(channel_id: str, rows: Sequence[GivenUp] | Unread) -> Finding:
    """Whether everything could be told."""
    check = f"telling {channel_id}"
    if isinstance(rows, Unread):
        return _unread(check, rows, REDRIVE)
    if not rows:
        return _works(check, "gave nothing up")
    services = len({(one.cluster_key, name) for one in rows for name in one.services})
    says = f"gave up news of {counted(services, 'service')} ({rows[-1].why})"
    return _fails(check, says, REDRIVE)


# --- several findings ---------------------------------------------------------------------------


def after(known: Checkup, findings: Sequence[Finding], *, asked: str = "") -> Mapping[str, str]:
    """What fails now, by check. What could not be seen is as it was before.

    So are checks that do not begin with what was `asked`; others that were not found are no more.
    A first word stands for all that begin with it: `function` for each function.
    """
    failing = {one.check: one.line for one in findings if one.verdict is Verdict.FAILS}
    unseen = {one.check for one in findings if one.verdict in (Verdict.UNSEEN, Verdict.OPEN)}
    kept = {
        check: line
        for check, line in known.failing.items()
        if check in unseen or check.partition(" ")[0] in unseen or not check.startswith(asked)
    }
    return kept | failing


def _works(check: str, says: str) -> Finding:
    return Finding(check, Verdict.WORKS, says)


def _fails(check: str, says: str, todo: str) -> Finding:
    return Finding(check, Verdict.FAILS, says, todo)


def _unread(check: str, seen: Unread, todo: str) -> Finding:
    if seen.is_gone:
        return _fails(check, "does not exist", todo)
    todo = "allow it to be read" if seen.why == NO_PERMISSION else "look again later"
    return Finding(check, Verdict.UNSEEN, f"could not be read: {seen.why}", todo)


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def counted(number: int, noun: str) -> str:
    """So many of something, `1 message` or `2,000 messages`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _ago(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
