"""Why a service fails: from what was read to a cause, the evidence and what to try.

Pure, and never raises. `catalogue` says what ECS's words mean, `names` which image, secret or alarm
they are about; this part weighs what the event, the stopped tasks and the service's messages say.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from notifier.diagnosis import names
from notifier.diagnosis.catalogue import (
    ALARM,
    CATALOGUE,
    EVENTS,
    LOG_LINES,
    SILENT,
    STOPPED_BY_SOMEBODY,
    STOPPED_ON_PURPOSE,
    TAKEN_AWAY,
    UNHEALTHY,
    UNLISTED,
    Rule,
    ending_of,
    exit_code_label,
    rule_of,
)
from notifier.diagnosis.names import Said
from notifier.facts import Confidence, Container, Diagnosis, Facts, StoppedTask, TaskDefinition
from notifier.tasks import BY_A_PERSON, Stop, telling_container, verdict_on_stopped

__all__ = ["ALSO", "circuit_breaker_line", "diagnose", "tasks_in_a_line", "worst_task"]

OTHERS_NAMED = 2
ALSO = "; also "  # before what only some of the tasks say
_FAILED = "SERVICE_DEPLOYMENT_FAILED"
_NO_FAILURE = (*STOPPED_ON_PURPOSE, *TAKEN_AWAY)
# How a container ends that ECS stops because another one is done; None never ran.
_STOPPED_WITH_IT = (0, 137, 143, None)
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class _Finding:
    """What a text, an event or so many stopped `tasks` say. `evidence` is ECS's own words.

    `is_doubtful`: the words are of a container that may have been no cause of the stop.
    """

    rule: Rule
    cause: str
    evidence: str = ""
    tasks: int = 0
    is_doubtful: bool = False

    @property
    def tells(self) -> bool:
        """Whether it says why, not only that something failed, in words that are known."""
        return self.rule.says_why and self.rule.confidence is not Confidence.UNKNOWN

    @property
    def place(self) -> int:
        """Where its rule stands: the most specific first."""
        return CATALOGUE.index(self.rule) if self.rule in CATALOGUE else len(CATALOGUE)


def diagnose(facts: Facts | None, *, event: str, reason: str) -> Diagnosis:
    """Why it fails: what the event says, else what most of its tasks say, else its messages.

    `event` is the eventName, empty for tasks that die; `reason` is ECS's own text of it.
    """
    findings = _findings(facts, event, reason)
    main = _main(findings)
    others = [one for one in findings if _is_worth_naming(one) and one != main]
    is_minority = 0 < main.tasks * 2 <= main.tasks + sum(one.tasks for one in others)
    is_certain = main.rule.confidence is Confidence.CERTAIN
    is_doubtful = is_certain and (is_minority or main.is_doubtful)
    return Diagnosis(
        cause=main.cause + _also(others),
        evidence=main.evidence,
        remedy=_remedy(main.rule, facts, event),
        page=main.rule.url,
        confidence=Confidence.LIKELY if is_doubtful else main.rule.confidence,
        is_of_release=main.rule.is_of_release,
    )


def _main(findings: Sequence[_Finding]) -> _Finding:
    """What is told: a known cause; else unknown words; else what was taken away; else the first."""
    told = (one for one in findings if one.tells and one.rule not in _NO_FAILURE)
    quoted = (one for one in findings if one.rule is UNLISTED)
    taken = (one for one in findings if one.rule in TAKEN_AWAY)
    return next((one for group in (told, quoted, taken) for one in group), findings[0])


def _is_worth_naming(finding: _Finding) -> bool:
    return finding.tasks > 0 and finding.rule not in STOPPED_ON_PURPOSE


def _also(others: Sequence[_Finding]) -> str:
    named = [f"{one.cause} ({_tasks(one.tasks)})" for one in others[:OTHERS_NAMED]]
    if len(others) > OTHERS_NAMED:
        named.append(f"{len(others) - OTHERS_NAMED} more")
    return f"{ALSO}{', '.join(named)}" if named else ""


def _tasks(count: int) -> str:
    return f"{count} task" if count == 1 else f"{count} tasks"


# --- what is said, and by whom: the weightiest first ----------------------------------------------


def _findings(facts: Facts | None, event: str, reason: str) -> Sequence[_Finding]:
    """All that is said, at least one thing, in the order in which it is told.

    Of tasks that die, the tasks themselves know best; of all else, the event.
    """
    tasks = _of_tasks(facts, _failing(facts))
    own = [] if not reason.strip() or _is_of_a_task(facts, reason) else [_of_text(facts, reason)]
    known = EVENTS.get(event)
    found = [
        *(own if event else tasks),
        *_of_deployment(facts),
        *(tasks if event else own),
        *_of_messages(facts),
        *([_Finding(known, known.cause, reason)] if known else []),
        *_of_tasks(facts, _benign(facts)),
    ]
    return found or [_Finding(SILENT, SILENT.cause)]


def _of_text(facts: Facts | None, text: str) -> _Finding:
    rule = rule_of(text) or UNLISTED
    return _Finding(rule, rule.cause_of(Said(text=text, facts=facts)), text)


def _is_of_a_task(facts: Facts | None, reason: str) -> bool:
    """Whether it is a task's own text, and so counted with the tasks already."""
    return any(
        reason in (task.stopped_reason, *(one.reason for one in task.containers))
        for task in _failing(facts)
    )


def _of_deployment(facts: Facts | None) -> Iterator[_Finding]:
    """What ECS says of the deployment, where it says why: that an alarm stopped it."""
    deployment = facts.service_deployment if facts else None
    if deployment is None:
        return
    texts = (deployment.status_reason, deployment.rollback_reason)
    yield from (one for text in texts if text and (one := _of_text(facts, text)).tells)
    if deployment.alarms:
        yield _Finding(ALARM, ALARM.cause_of(Said(text="", facts=facts)))


def _of_messages(facts: Facts | None) -> Iterator[_Finding]:
    """What the service's own messages say, the newest first; most of them tell nothing bad."""
    yield from (
        _of_text(facts, text) for text in (facts.messages if facts else ()) if rule_of(text)
    )


# --- stopped tasks --------------------------------------------------------------------------------


def _newest(facts: Facts | None) -> Sequence[StoppedTask]:
    tasks = facts.stopped_tasks if facts else ()
    return sorted(tasks, key=lambda one: (one.stopped_at or _LONG_AGO, one.arn), reverse=True)


def _failing(facts: Facts | None) -> Sequence[StoppedTask]:
    """Of a failing deployment a clean exit is a failure too: a service's task must not end."""
    return [one for one in _newest(facts) if verdict_on_stopped(one) is not Stop.BENIGN]


def _benign(facts: Facts | None) -> Sequence[StoppedTask]:
    return [one for one in _newest(facts) if verdict_on_stopped(one) is Stop.BENIGN]


def _of_tasks(facts: Facts | None, tasks: Sequence[StoppedTask]) -> Sequence[_Finding]:
    """What the tasks say, the commonest first; the words are those of the newest that says it."""
    told = [_of_task(facts, task) for task in tasks]
    counts = Counter((one.rule, one.cause) for one in told)
    newest = {(one.rule, one.cause): one for one in reversed(told)}
    counted = [replace(one, tasks=counts[kind]) for kind, one in newest.items()]
    return sorted(counted, key=lambda one: (-one.tasks, one.place, one.cause, one.evidence))


def _of_task(facts: Facts | None, task: StoppedTask) -> _Finding:
    definition = _definition_of(facts, task)
    container = telling_container(task.containers, _side_cars(definition))
    texts = [text for text in (container.reason if container else "", task.stopped_reason) if text]
    said = Said(
        text="\n".join((*texts, *_how_unhealthy(facts, texts))),
        container=container,
        definition=definition,
        facts=facts,
    )
    if task.stop_code == BY_A_PERSON:
        return _found(STOPPED_BY_SOMEBODY, said, [task.stopped_reason])  # in words of their own
    rule = rule_of(said.text)
    if (rule is None and not texts) or (rule and not rule.says_why):
        return _of_exit_code(said, texts) or _of_side_cars(task, said) or _found(rule, said, texts)
    found = _found(rule, said, texts)
    return replace(found, is_doubtful=_may_be_of_a_side_car(task, said, found.evidence))


def _may_be_of_a_side_car(task: StoppedTask, said: Said, evidence: str) -> bool:
    """Whether another container ended by itself, and nobody knows which of both is essential."""
    container = said.container
    if said.definition or not container or evidence != container.reason:
        return False
    silent = telling_container([replace(one, reason="") for one in task.containers])
    if silent is None or silent.name == container.name:
        return False
    return silent.exit_code not in _STOPPED_WITH_IT


def _found(rule: Rule | None, said: Said, texts: Sequence[str]) -> _Finding:
    """The rule's finding, with the text that says it, or else the nearest to the container."""
    known = rule or (UNLISTED if texts else SILENT)
    telling = [text for text in (*texts, *said.text.splitlines()) if rule and rule.matches(text)]
    return _Finding(known, known.cause_of(said), next(iter((*telling, *texts)), ""))


def _definition_of(facts: Facts | None, task: StoppedTask) -> TaskDefinition | None:
    known = [one for one in (facts.failing, facts.serving) if one] if facts else []
    return next((one for one in known if one.arn == task.task_definition), None)


def _side_cars(definition: TaskDefinition | None) -> set[str]:
    asked = definition.containers if definition else ()
    return {one.name for one in asked if not one.is_essential}


def _how_unhealthy(facts: Facts | None, texts: Sequence[str]) -> Sequence[str]:
    """The newest message that says how health checks fail: the HTTP codes stand there only."""
    if facts is None or rule_of("\n".join(texts)) is not UNHEALTHY:
        return ()
    unhealthy = [text for text in facts.messages if UNHEALTHY.matches(text)]
    return [text for text in unhealthy if rule_of(text) is not UNHEALTHY][:1]


def _of_side_cars(task: StoppedTask, said: Said) -> _Finding | None:
    """Where nothing else tells anything, what another container says."""
    for container in sorted(task.containers, key=lambda one: one.name):
        rule = rule_of(container.reason)
        if rule and rule.says_why:
            other = replace(said, text=container.reason, container=container)
            return _found(rule, other, [container.reason])
    return None


def _of_exit_code(said: Said, texts: Sequence[str]) -> _Finding | None:
    """What the container's exit code means, or its own last words where they say more."""
    container = said.container
    if container is None or container.exit_code is None:
        return None
    if last_words := _of_log(said, container, texts):
        return last_words
    ending = ending_of(container.exit_code)
    named = names.container(said) or "a container"
    rule = Rule(
        (),
        f"{named} exited with code {exit_code_label(container.exit_code)}: {ending.meaning}",
        ending.remedy,
        "stopped-task-errors",
        confidence=ending.confidence,
    )
    return _found(rule, said, texts)


def _of_log(said: Said, container: Container, texts: Sequence[str]) -> _Finding | None:
    """What the program's own last words mean. They are told with the log, and never kept."""
    tail = said.facts.logs if said.facts else None
    lines = tail.lines if tail and tail.container == container.name else ()
    for line in reversed(lines):
        for rule in LOG_LINES:
            if rule.matches(line):
                return _Finding(rule, rule.cause_of(said), next(iter(texts), ""))
    return None


# --- what to try ----------------------------------------------------------------------------------


def _remedy(rule: Rule, facts: Facts | None, event: str) -> str:
    sentences = [rule.remedy]
    if facts and _is_retried_for_ever(rule, facts, event):
        sentences.append("Without a circuit breaker ECS will retry for ever.")
    if facts and rule.is_of_release and (moved := _with_moving_tag(facts)):
        sentences.append(f"A roll-back may run the new image of {moved}: its tag is the same.")
    return " ".join(one for one in sentences if one)


def _is_retried_for_ever(rule: Rule, facts: Facts, event: str) -> bool:
    """A failed deployment starts no more tasks; what is stopped on purpose is not tried again.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
    """
    has_ended = event == _FAILED or rule is ALARM
    return facts.has_circuit_breaker is False and rule not in _NO_FAILURE and not has_ended


def _with_moving_tag(facts: Facts) -> str:
    """The containers whose tag is the same in both releases, and may yet mean another image.

    ECS resolves a tag to a digest once for each deployment.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
    """
    before = {one.name: one.image for one in facts.serving.containers} if facts.serving else {}
    after = facts.failing.containers if facts.failing else ()
    same = (one for one in after if one.image and before.get(one.name) == one.image)
    return names.listed(one.name for one in same if _may_have_moved(facts, one.name, one.image))


def _may_have_moved(facts: Facts, container: str, image: str) -> bool:
    new, old = facts.failing_images.get(container), facts.serving_images.get(container)
    if "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return new != old if new and old else tag in ("", "latest")


# --- lines ----------------------------------------------------------------------------------------


def tasks_in_a_line(facts: Facts) -> str:
    """How the stopped tasks ended: `3 of 3 never started`; empty where none is known."""
    counts = Counter(_outcome(facts, task) for task in facts.stopped_tasks)
    kinds = sorted(counts.items(), key=lambda kind: (-kind[1], kind[0]))
    if len(kinds) == 1:
        return f"{kinds[0][1]} of {kinds[0][1]} {kinds[0][0]}"
    ended = ", ".join(f"{count} {outcome}" for outcome, count in kinds)
    return f"{_tasks(len(facts.stopped_tasks))}: {ended}" if kinds else ""


def _outcome(facts: Facts, task: StoppedTask) -> str:
    container = telling_container(task.containers, _side_cars(_definition_of(facts, task)))
    exit_code = container.exit_code if container else None
    if outcome := _of_task(facts, task).rule.outcome:
        return outcome
    if exit_code is not None:
        return f"exited {exit_code_label(exit_code)}"
    return "never started" if task.started_at is None else "stopped"


def worst_task(facts: Facts) -> StoppedTask | None:
    """The newest task that shows the commonest cause; where none failed, the newest of all."""
    failing = _failing(facts)
    if not failing:
        return next(iter(_newest(facts)), None)
    common = _of_tasks(facts, failing)[0]
    shows = (one for one in failing if _of_task(facts, one).cause == common.cause)
    return next(shows, failing[0])


def circuit_breaker_line(facts: Facts) -> str:
    """`circuit breaker 2 of 3`, `alarm checkout-5xx`, or both; empty where neither is known.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """
    shown = facts.service_deployment
    if shown is None:
        return ""
    counted = shown.failure_count and shown.threshold is not None
    breaker = f"circuit breaker {shown.failure_count} of {shown.threshold}" if counted else ""
    alarms = names.listed(shown.alarms)
    alarm = f"{'alarms' if len(shown.alarms) > 1 else 'alarm'} {alarms}" if alarms else ""
    return ", ".join(one for one in (breaker, alarm) if one)
