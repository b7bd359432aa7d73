"""State and facts become a message. Templates hold the words; this module keeps them safe.

Whatever comes from outside is cleaned of what cannot be seen, cut, then escaped, in this order, so
that nothing of it is ever live in Slack and no cut goes through an escape. Escaping is Jinja's
`autoescape`: a template cannot forget it.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifier import arns
from notifier.causes import (
    RUNG_AT_MOST,
    Cause,
    cause_of,
    main_why_of,
    missing_of,
    pages_of,
    rung,
    shipped_by,
    why_of,
)
from notifier.facts import LogTail
from notifier.incidents import (
    CLOCKS,
    FAILED,
    IN_PROGRESS,
    NO_PROGRESS,
    OUR_OWN,
    TASKS_DIE,
    cause,
    cause_event,
    explanation_of,
    failed_deployment,
    impact_of,
    is_only_ours,
)
from notifier.model import (
    BEGINNING,
    Census,
    Checkup,
    ClusterState,
    Deployment,
    Impact,
    KnownDeployment,
    Message,
    Phase,
    Reason,
    ServiceReading,
    ServiceState,
    SubjectKind,
)
from notifier.progress import lacks_tasks, primary_of
from notifier.redaction import redacted, redacted_lines
from notifier.task_words import RetryLine, RunLine, TaskLine, task_line, task_sign

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MESSAGE_AT_MOST = 9_000  # characters; Slack refuses near 13,000 without documenting it
PLAIN_AT_MOST = 3_500  # characters; https://docs.slack.dev/reference/methods/chat.postMessage
DEPLOYMENTS_SHOWN = 6
ROWS_SHOWN = 10  # of what is failing, in a root
SHOWN_ONE_BY_ONE = 3  # of those that fail, or are over, in the same way
GROUPS_SHOWN = 5
NAMES_AT_MOST = 600  # characters, escaped: the names of several services in a root
NAMES_OF_FOLDS = 4_500  # of all groups of one together
NAMES_OF_ONE = 2_000
NAMES_ON_A_PHONE = 60
CAUSES_ON_A_PHONE = 3
DEPLOYERS_SHOWN = (5, 1, 0)  # of a fold that fails: as many as leave room for why it does
RUNS_AT_MOST = 900  # characters: the links to a deployer's runs, with their labels
NAME_AT_MOST = 255  # characters, escaped
LINKS_SHOWN = 4
LOG_LINE_AT_MOST = 300  # characters, escaped
URL_AT_MOST = 600  # characters: a page of the console has about 200
TASKS_SHOWN = 5  # standalone tasks, in a root or a reply
TOLD_LATE = timedelta(minutes=5)  # after it began: the reply then says since when

_A_NAME = re.compile(r"[\w/-]+")  # as ECS and CodeDeploy name services and groups

_SIGN = {Impact.DOWN: "⛔", Impact.REDUCED: "🔴", Impact.SERVING: "🟠", Impact.UNKNOWN: "🔴"}
_SIGN_OVER = {
    Phase.RECOVERED: "✅",
    Phase.WELL: "✅",
    Phase.ROLLING: "⚪",
    Phase.NOT_LIVE: "🟠",
    Phase.QUIET: "⚪",
    Phase.STOPPED: "⚪",
    Phase.GONE: "⚪",
}
# Said in a reply when it is not simply the first failure.
_NEWS = {
    Reason.FAILING_AGAIN: "failing again",
    Reason.FLAPPING: "flapping: counted from now on, told again after a quiet hour",
    Reason.ANOTHER_DEPLOYMENT: "another deployment",
    Reason.WORSE: "worse than before",
    Reason.STILL_FAILING: "still failing",
}


@dataclass(frozen=True, slots=True)
class Room:
    """How many rows a root has for what is failing, and up to how many alike have one each."""

    rows: int = ROWS_SHOWN
    one_by_one: int = SHOWN_ONE_BY_ONE


Heard = tuple[ServiceState, Sequence[Reason]]  # a service, and what is news of it to this route
ROOMS = (Room(), Room(one_by_one=1), Room(rows=5, one_by_one=1), Room(rows=2, one_by_one=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a message shows of one service, or of several that have it in common.

    Of several, `name` is their number, `names` are their names and `who` is short, for a phone.
    `happened` and `why` are our words, `reason` is ECS's own. `over` says how it ended, and is
    empty while it fails; `notes` say more of it. `is_counted`: we saw it ourselves, so `happened`
    goes with `since` (`3 tasks died since 11:56`), and nobody reported it.
    """

    sign: str
    name: str
    who: str
    kind: str
    serving: str
    happened: str
    why: str
    reason: str
    count: int
    since: datetime | None
    over: str
    fix: str
    looks_well_since: datetime | None
    news: str = ""
    notes: tuple[str, ...] = ()
    names: str = ""
    shipped: str = ""
    is_counted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployer:
    """Who shipped several services: `who` in words, their `names`, short for a phone too.

    `runs` are labels and addresses of what deployed them.
    """

    who: str
    names: str
    on_a_phone: str
    runs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What every message about a cluster needs besides its services."""

    cluster: ClusterState
    now: datetime
    mentions: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    is_flat: bool = False
    instead_of: str = ""
    logs: Mapping[str, LogTail] = field(default_factory=dict)
    alias: str = ""
    own_secrets: tuple[re.Pattern[str], ...] = ()
    rings_deployers: bool = True

    @property
    def is_over(self) -> bool:
        """Whether nothing of the incident is open any more."""
        return not self.cluster.open_services


def root_message(telling: Telling, services: Sequence[ServiceState], previous: str = "") -> Message:
    """The present state of a cluster's incident, worst first; `previous` links the last root."""
    for room in ROOMS:
        message = _root(telling, services, previous, room)
        if _length(message.blocks) <= MESSAGE_AT_MOST:
            return message
    return _within_budget(message)


def _root(telling: Telling, services: Sequence[ServiceState], previous: str, room: Room) -> Message:
    cluster = telling.cluster
    jobs = [one for one in services if one.kind is SubjectKind.TASK]
    services = [one for one in services if one.kind is not SubjectKind.TASK]
    failing = [one for one in services if one.phase.is_open]
    over = [one for one in services if not one.phase.is_open]
    failed_jobs = [one for one in jobs if one.phase in (Phase.TASK_FAILED, Phase.NOT_RUN)]
    groups = _split(_alike(failing), room.one_by_one)
    shown = [*groups[: room.rows], *_split(_by_end(over), room.one_by_one)]
    rest = [one for group in groups[room.rows :] for one in group]
    return _render(
        "root.j2",
        telling,
        [group[0] for group in shown if len(group) == 1],
        where=True,
        lines=[_row_of(group, is_over=telling.is_over) for group in shown],
        causes=[_group(*group, NAMES_AT_MOST) for group in _by_cause(failing)[:CAUSES_ON_A_PHONE]],
        more=len(rest),
        rest=_listed(map(_name, rest), NAMES_AT_MOST),
        failing=[_name(one) for one in failing[: SHOWN_ONE_BY_ONE + 1]],
        down=_down(services),
        tasks=[task_line(one, cluster.key) for one in jobs[:TASKS_SHOWN]],
        more_tasks=len(jobs[TASKS_SHOWN:]),
        failed_tasks=_listed(map(_name, failed_jobs), NAMES_ON_A_PHONE),
        has_services=bool(services),
        sign=_root_sign(cluster, services, jobs),
        is_over=telling.is_over,
        open_count=cluster.open_services,
        lasted=_lasted(cluster, services),
        previous=previous,
    )


# --- who is alike -------------------------------------------------------------------------------


def _alike(failing: Sequence[ServiceState]) -> list[list[ServiceState]]:
    """Those that fail in the same way together, in the order in which they came."""
    groups: dict[object, list[ServiceState]] = {}
    for one in failing:
        stands = (one.kind, one.phase, one.impact, _way_back(one), bool(_fix(one)))
        groups.setdefault((*stands, *_cause_of_any(one)), []).append(one)
    return list(groups.values())


def _cause_of_any(service: ServiceState) -> tuple[str, str]:
    """The cause without what differs from one service to the next: its name, ids, numbers."""
    first = cause(service)
    if first is None:
        return "", ""
    said = main_why_of(service) or first.reason
    reason = _A_NAME.sub(lambda word: "#" if word[0] == service.name else word[0], said)
    return first.event, re.sub(r"[0-9a-f-]{8,}|\d+", "#", reason.lower())[:200]


def _by_cause(failing: Sequence[ServiceState]) -> list[tuple[str, list[ServiceState]]]:
    """Whatever runs of them: what is wrong in words, and of whom."""
    groups: dict[object, list[ServiceState]] = {}
    for one in failing:
        same = (_happened(one, is_one=False), *_cause_of_any(one))
        groups.setdefault(same, []).append(one)
    return [(_what_is_wrong(of[0], is_one=False), of) for of in groups.values()]


def _by_end(over: Sequence[ServiceState]) -> list[list[ServiceState]]:
    groups: dict[str, list[ServiceState]] = {}
    for one in over:
        groups.setdefault(_end(one, is_one=False), []).append(one)
    return list(groups.values())


def _split(groups: Sequence[list[ServiceState]], one_by_one: int) -> list[list[ServiceState]]:
    """Few that are alike are still shown each by itself."""
    parts = ([group] if len(group) > one_by_one else [[one] for one in group] for group in groups)
    return [part for several in parts for part in several]


def _row_of(group: Sequence[ServiceState], *, is_over: bool) -> Line:
    line = _line(group[0], is_over=is_over)
    return line if len(group) == 1 else _line_of_several(group, line)


def _line_of_several(group: Sequence[ServiceState], first: Line) -> Line:
    """What all of them have in common, then who they are."""
    none_runs = all(map(_is_down, group))
    labels = map(_name if none_runs else _label, group)
    return replace(
        first,
        name=_services(len(group)),
        who=_listed(map(_name, group), NAMES_ON_A_PHONE),
        kind=str(SubjectKind.SERVICE),
        serving="0 running" if none_runs and not first.over else "",
        happened=_happened(group[0], is_one=False),
        why=_main_why(group[0]),
        count=1,
        since=min(filter(None, map(_since, group)), default=None),
        over=_end(group[0], is_one=False) if first.over else "",
        fix="of theirs" if first.fix else "",
        shipped="",
        looks_well_since=max(filter(None, (one.well_since for one in group)), default=None),
        names=_listed(labels, NAMES_AT_MOST),
    )


def _services(count: int) -> str:
    return f"{count} service{'s' if count != 1 else ''}"


def _listed(labels: Iterable[str], at_most: int) -> str:
    """`a, b and 3 more`: whole names, as many as fit, and the number of the others."""
    left, names, others = at_most, list[str](), 0
    for label in labels:
        left -= _cost(label) + 2
        if names and (left < 0 or others):
            others += 1
        else:
            names.append(label)
    return ", ".join(names) + (f" and {others} more" if others else "")


# --- what happened ------------------------------------------------------------------------------


def reply_message(telling: Telling, services: Sequence[ServiceState], route: str) -> Message:
    """What happened to one service, or to several at once, since this route was told last."""
    if all(one.kind is SubjectKind.TASK for one in services):
        return _within_budget(_of_tasks(telling, services, route))
    heard = [(service, _news_of(service, route)) for service in services]
    if all(_is_shipped(service, news) for service, news in heard):
        return _within_budget(_shipped(telling, heard))
    if len(services) > 1:
        return _folded(telling, heard)
    return _within_budget(_of_one(telling, *heard[0]))


def _of_tasks(telling: Telling, tasks: Sequence[ServiceState], route: str) -> Message:
    lines = [task_line(one, telling.cluster.key, route) for one in tasks]
    first = [run for line in lines[:LINKS_SHOWN] for run in line.runs[:1]]
    urls = [("execution" if run.is_of_runbook else "task", run.url) for run in first if run.url]
    return _render(
        "tasks.j2",
        telling,
        (),
        pages=urls,
        sign=min((line.sign for line in lines), key="🔴🟠🔁✅".index),
        tasks=lines[:TASKS_SHOWN],
        more=len(lines[TASKS_SHOWN:]),
        rest=_listed(map(_name, tasks[TASKS_SHOWN:]), NAMES_AT_MOST),
    )


def _of_one(telling: Telling, service: ServiceState, news: Sequence[Reason]) -> Message:
    line = _line(service, is_over=telling.is_over, news=news, now=telling.now)
    if not service.phase.is_open:
        return _render("over.j2", telling, [service], s=line)
    return _render(
        "failure.j2",
        telling,
        [service],
        [(service, news)],
        s=line,
        why=_without_secrets(cause_of(service, telling.logs.get(service.key)), telling.own_secrets),
        deployments=_table(service.reading),
        late=service.since is not None and telling.now - service.since > TOLD_LATE,
    )


def _without_secrets(why: Cause, own_secrets: Sequence[re.Pattern[str]]) -> Cause:
    """A private key goes over several lines of a log, which are read together."""
    return replace(why, log_lines=redacted_lines(tuple(map(clean, why.log_lines)), own_secrets))


def summary_message(census: Census, destination: str) -> Message:
    """What the first census found: how much is watched, and what is in trouble already."""
    found = census.trouble.get(destination, ())
    context = {"clusters": census.watched, "services": census.services, "trouble": found}
    text = _templates().get_template("summary.j2").render(_cleaned(context))
    payload = json.loads(text)
    return _within_budget(Message(text=payload["text"], blocks=tuple(payload["blocks"])))


def checkup_message(checkup: Checkup) -> Message:
    """What fails of the watcher itself that was not told yet, and what is no longer so."""
    news = checkup.news
    failing = [checkup.failing[check] for check, fails in news.items() if fails]
    over = [check for check, fails in news.items() if not fails]
    well = [check for check in over if check not in checkup.ended]
    ended = [f"{check} {checkup.ended[check]}" for check in over if check in checkup.ended]
    still = len(checkup.failing) - len(failing)
    context = {"failing": failing, "well": well, "ended": ended, "still": still}
    payload = json.loads(_templates().get_template("checkup.j2").render(_cleaned(context)))
    return _within_budget(Message(text=payload["text"], blocks=tuple(payload["blocks"])))


def plain(message: Message) -> Message:
    """The message as bare text, for when Slack refuses its blocks: all names and mentions in it."""
    text = message.text
    for line in _section_lines(message.blocks):
        if len(text) + len(line) < PLAIN_AT_MOST:
            text += f"\n{line}"
    return Message(text=text)


def _section_lines(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        if block["type"] == "section":
            yield from filter(None, block["text"]["text"].splitlines())


def _folded(telling: Telling, heard: Sequence[Heard]) -> Message:
    """Several services: why they fail or how it ended, then who shipped them, if there is room."""
    for deployers in DEPLOYERS_SHOWN:
        message = _fold(telling, heard, deployers)
        if _length(message.blocks) <= MESSAGE_AT_MOST:
            return message
    return _within_budget(message)


def _fold(telling: Telling, heard: Sequence[Heard], deployers: int) -> Message:
    """Of whom is known only now who shipped them, nothing else is told again."""
    told = [(one, news) for one, news in heard if not _is_shipped(one, news)]
    services = [one for one, _ in told]
    failing = sum(one.phase.is_open for one in services)
    ends = {_end(one, is_one=False) for one in services if not one.phase.is_open}
    end = ends.pop() if len(ends) == 1 else ""
    groups: dict[str, list[ServiceState]] = {}
    for service, news in told:
        said = _said_of_many(service, news, "" if failing else end)
        groups.setdefault(said, []).append(service)
    by_size = sorted(groups.items(), key=lambda group: -len(group[1]))
    room = min(NAMES_OF_FOLDS // min(len(groups), GROUPS_SHOWN), NAMES_OF_ONE)
    rest = [one for _, of in by_size[GROUPS_SHOWN:] for one in of]
    shipped = _by_deployer([one for one, _ in heard])
    return _render(
        "folded.j2",
        telling,
        [one for one, _ in heard] if len(heard) < LINKS_SHOWN else (),
        heard,
        sign=_worst_sign(telling, services),
        total=len(services),
        failing=failing,
        open_count=telling.cluster.open_services,
        over=end or "over",
        down=_down(services),
        groups=[_group(why, of, room) for why, of in by_size[:GROUPS_SHOWN]],
        more=len(rest),
        rest=_listed(map(_name, rest), NAMES_AT_MOST),
        deployers=[_deployer(*group, NAMES_ON_A_PHONE) for group in shipped[:deployers]],
    )


def _worst_sign(telling: Telling, services: Sequence[ServiceState]) -> str:
    return _sign(max(services, key=_badness), is_over=telling.is_over)


def _badness(service: ServiceState) -> tuple[bool, bool, Impact]:
    return (service.phase.is_open, service.phase is Phase.NOT_LIVE, service.impact)


def _group(why: str, services: Sequence[ServiceState], room: int) -> tuple[str, int, str, str]:
    """Why, how many, who for a phone, and who in full, in so many characters."""
    names = map(_name if len(services) > 1 else _label, services)
    who = _listed(names, NAMES_ON_A_PHONE)
    return why, len(services), who, _listed(map(_label, services), room)


def _said_of_many(service: ServiceState, news: Sequence[Reason], title: str) -> str:
    """What several services have in common, in words, but for what the title says."""
    if service.phase.is_open:
        return _what_is_wrong(service, is_one=False)
    if set(news) == {Reason.SUPERSEDED}:
        return _superseded(service)
    end = _end(service, is_one=False)
    is_unheard = BEGINNING & set(news) and not service.not_live
    was = f"it was: {_what_is_wrong(service, is_one=False)}" if is_unheard else ""
    return "; ".join(filter(None, ("" if end == title else end, was)))


def _down(services: Sequence[ServiceState]) -> int:
    return sum(map(_is_down, services))


def _is_down(service: ServiceState) -> bool:
    """Whether nothing of it runs now; where that was not read, as far as is known."""
    if not service.phase.is_open:
        return False
    reading = service.reading
    if reading is None or reading.status == "MISSING":
        return service.impact is Impact.DOWN
    return reading.running_count == 0 < reading.desired_count


def _name(service: ServiceState) -> str:
    """As ECS bounds it, whatever came in.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html
    """
    return cut(clean(service.name), NAME_AT_MOST)


def _label(service: ServiceState) -> str:
    """`checkout 1 of 4`: what runs of what is desired; `checkout :42`: what never went live."""
    reading = service.reading
    if not service.phase.is_open:
        return f"{_name(service)} {_releases(service)}".rstrip()
    if reading is None or reading.status == "MISSING":
        return _name(service)
    return f"{_name(service)} {reading.running_count} of {reading.desired_count}"


def _line(
    service: ServiceState,
    *,
    is_over: bool,
    news: Sequence[Reason] = (),
    now: datetime | None = None,
) -> Line:
    first, name = cause(service), _name(service)
    is_open = service.phase.is_open
    return Line(
        sign=_sign(service, is_over=is_over),
        name=name,
        who=name,
        kind=str(service.kind),
        serving=serving(service.reading) + _for_how_long(service, news, now),
        happened=_happened(service),
        why=_why(service),
        reason=first.reason if first else "",
        count=service.count,
        since=_since(service),
        over="" if is_open else _end_as_told(service, news),
        fix=_fix(service) if is_open else "",
        looks_well_since=service.well_since,
        news=_said_first(service, news) if is_open else "",
        notes=tuple(_silence(service) if is_open else _notes(service, news)),
        shipped=shipped_by(service) if is_open or service.not_live else "",
        is_counted=cause_event(service) in OUR_OWN,
    )


def _impact_shown(service: ServiceState) -> Impact:
    """The worst since it began; while it looks well, what runs now."""
    is_well = service.phase is Phase.RECOVERING
    return impact_of(service.reading) if is_well else service.impact


def _sign(service: ServiceState, *, is_over: bool) -> str:
    """The first thing a reader sees. What never went live is no trouble once all is over."""
    if service.phase.is_open:
        return _SIGN[_impact_shown(service)]
    return "☑️" if is_over and service.not_live else _SIGN_OVER[service.phase]


def _happened(service: ServiceState, *, is_one: bool = True) -> str:
    """`:42 deployment failed and is being rolled back`."""
    first, failed = cause(service), failed_deployment(service)
    event = first.event if first else ""
    named = event or "trouble without a name"
    said = _words()["HAPPENED"].get(event, f"ECS reports {cut(named, 150)}")
    if is_one and failed and failed.revision and event.startswith("SERVICE_DEPLOYMENT_"):
        said = f"{_revision(failed.revision)} {said}"
    counted = _counted(service, event) if is_one else ""
    return (counted or said) + _way_back(service)


def _counted(service: ServiceState, event: str) -> str:
    """`3 tasks died`: what we counted ourselves, with the figure; empty where it is not known."""
    if event == TASKS_DIE and service.dying:
        return f"{service.dying.count} tasks died"
    reading = service.reading
    if event != NO_PROGRESS or reading is None or not lacks_tasks(reading):
        return ""
    newest = primary_of(reading)
    if newest is None or newest.running_count == reading.running_count:
        return "no more tasks came to run"  # how many run stands before it
    runs = f"{newest.running_count} of {newest.desired_count} running"
    return f"{_revision(newest.task_definition)} has {runs} and no more came to run"


def _since(service: ServiceState) -> datetime | None:
    """Since when it fails; of what we counted, since when that is so."""
    event = cause_event(service)
    if event == TASKS_DIE and service.dying:
        return service.dying.since
    if event == NO_PROGRESS and service.progress:
        return service.progress.at
    return service.since


def _way_back(service: ServiceState) -> str:
    """Whether the release that failed is being rolled back, or was, in words."""
    first = cause(service)
    if first is None or first.event not in (FAILED, IN_PROGRESS):
        return ""
    began = (service.since or first.occurred_at) - CLOCKS
    back = [one for one in service.deployments if one.is_rollback and _began(one) >= began]
    if back:
        return _how_far(max(back, key=_began), service.reading)
    return " and is being rolled back" if first.event == IN_PROGRESS else ""


def _how_far(back: KnownDeployment, reading: ServiceReading | None) -> str:
    """A roll-back may bear the id of the deployment that completed before: its row knows better."""
    rows = reading.deployments if reading and reading.read_at >= _began(back) else None
    state = next((row.rollout_state or "COMPLETED" for row in rows or () if row.id == back.id), "")
    has_ended = back.completed_at is not None and back.completed_at > _began(back)
    if state == "IN_PROGRESS" or (rows is None and not has_ended):
        return " and is being rolled back"
    return " and was rolled back" if state == "COMPLETED" or has_ended else ""


def _began(deployment: KnownDeployment) -> datetime:
    return deployment.began_at or deployment.failed_at or deployment.updated_at


def _why(service: ServiceState) -> str:
    first = cause(service)
    said = first.reason if first else ""
    return why_of(service) or _words()["PLACEMENT"].get(said, said)


def _main_why(service: ServiceState) -> str:
    return main_why_of(service) or _why(service)


def _what_is_wrong(service: ServiceState, *, is_one: bool = True) -> str:
    why = _why(service) if is_one else _main_why(service)
    return _happened(service, is_one=is_one) + (f": {why}" if why else "")


def _news_of(service: ServiceState, route: str) -> Sequence[Reason]:
    return [one.reason for one in service.untold(route)]


def _said_first(service: ServiceState, news: Sequence[Reason]) -> str:
    """What is new about a failure that is not simply the first."""
    if Reason.SUPERSEDED in news:
        return _superseded(service)
    return next((_NEWS[one] for one in reversed(news) if one in _NEWS), "")


# --- who shipped it -----------------------------------------------------------------------------


def _is_shipped(service: ServiceState, news: Sequence[Reason]) -> bool:
    """Whether all that is news of it is who shipped it, and somebody can be named."""
    is_late = set(news) == {Reason.DEPLOYER_KNOWN} and service.phase.is_open
    return is_late and bool(shipped_by(service))


def _shipped(telling: Telling, heard: Sequence[Heard]) -> Message:
    services = [one for one, _ in heard]
    groups = _by_deployer(services)
    rest = [one for _, of in groups[GROUPS_SHOWN:] for one in of]
    return _render(
        "shipped.j2",
        telling,
        services if len(services) < LINKS_SHOWN else (),
        heard,
        sign=_worst_sign(telling, services),
        total=len(services),
        name=_name(services[0]),
        deployers=[_deployer(*group, NAMES_AT_MOST) for group in groups[:GROUPS_SHOWN]],
        more=len(rest),
        rest=_listed(map(_name, rest), NAMES_AT_MOST),
    )


def _by_deployer(services: Sequence[ServiceState]) -> list[tuple[str, list[ServiceState]]]:
    """Each who shipped any of what fails, and what they shipped; who shipped most comes first."""
    groups: dict[str, list[ServiceState]] = {}
    for service in services:
        if service.phase.is_open and (who := shipped_by(service)):
            groups.setdefault(who, []).append(service)
    return sorted(groups.items(), key=lambda group: -len(group[1]))


def _deployer(who: str, services: Sequence[ServiceState], names_at_most: int) -> Deployer:
    return Deployer(
        who=who,
        names=_listed(map(_name, services), names_at_most),
        on_a_phone=_listed(map(_name, services), NAMES_ON_A_PHONE),
        runs=tuple(_runs(services)),
    )


def _runs(services: Sequence[ServiceState]) -> Iterator[tuple[str, str]]:
    """The run that deployed them all, or the run of each by its name; as many as fit."""
    runs: dict[str, str] = {}
    for service in services:
        known = explanation_of(service)
        if known and known.actor and known.actor.url:
            runs.setdefault(known.actor.url, _name(service))
    left = RUNS_AT_MOST
    for url, name in list(runs.items())[:LINKS_SHOWN]:
        label = "its run" if len(services) == 1 else "their run" if len(runs) == 1 else name
        left -= _cost(url) + _cost(label)
        if left >= 0:
            yield label, url


# --- how it ended -------------------------------------------------------------------------------


def _end_as_told(service: ServiceState, news: Sequence[Reason]) -> str:
    """How it ended; or what came later than that."""
    if set(news) == {Reason.SUPERSEDED}:
        return _superseded(service)
    if Reason.NOW_LIVE in news:
        is_other = f"{_releases(service)} never went live, a newer release is live now"
        return is_other if service.not_live else "the release is live now"
    return _end(service)


def _end(service: ServiceState, *, is_one: bool = True) -> str:
    """`recovered after 17 min`, `:42 was rolled back, it never went live`."""
    if service.not_live and not is_one:
        return _words()["OVER"][str(Phase.NOT_LIVE)]
    if service.not_live:
        verb = "was rolled back, it" if len(service.not_live) == 1 else "were rolled back, they"
        return f"{_releases(service)} {verb} never went live"
    said = _words()["OVER"][str(service.phase)]
    lasted = _span(service.since, _ended_at(service)) if is_one else ""
    if lasted and service.phase in (Phase.RECOVERED, Phase.STOPPED, Phase.GONE):
        said += f" after {lasted}"
    if service.phase is Phase.RECOVERED and service.impact is Impact.UNKNOWN:
        said += ", as ECS says; what runs could not be read"
    return said


def _releases(service: ServiceState) -> str:
    return cut(", ".join(map(_revision, service.not_live)), 200)


def _ended_at(service: ServiceState) -> datetime | None:
    """When it first looked well for good: that it had to look so for a while took no longer."""
    if service.phase in (Phase.RECOVERED, Phase.NOT_LIVE) and service.well_since:
        return service.well_since
    return service.changed_at


def _lasted(cluster: ClusterState, services: Sequence[ServiceState]) -> str:
    """From the first failure until the last service looked well or ended."""
    began = [cluster.opened_at, *(one.since for one in services)]
    ended = [_ended_at(one) for one in services] or [cluster.closed_at]
    return _span(min(filter(None, began), default=None), max(filter(None, ended), default=None))


def _for_how_long(service: ServiceState, news: Sequence[Reason], now: datetime | None) -> str:
    """` for 8 min`, in a message that is not edited later."""
    is_end = bool(news) and news[-1] in (Reason.RECOVERED, Reason.ROLLED_BACK)
    reading = service.reading
    if not is_end or reading is None or reading.running_count < reading.desired_count:
        return ""
    span = _span(service.well_since, now)
    return f" for {span}" if span else ""


def _silence(service: ServiceState) -> Iterator[str]:
    """Why ECS's own pages and events say nothing of this trouble, and who does."""
    if is_only_ours(service):
        seen = _words()["SEEN"][cause_event(service)]
        yield f"ECS itself reports no failure: {seen}"


def _notes(service: ServiceState, news: Sequence[Reason]) -> Iterator[str]:
    """What a reader who was told nothing of it before has to know."""
    is_unheard = bool(news) and news[-1] is Reason.OVER_BEFORE_TOLD
    if is_unheard or BEGINNING & set(news):
        yield f"It was: {_why(service) if service.not_live else _what_is_wrong(service)}"
    if is_unheard:
        yield (
            "Its event came late: it was over before ecs-watch heard of it."
            if service.is_late
            else "It was over before Slack could be told."
        )
    if Reason.SUPERSEDED in news and set(news) != {Reason.SUPERSEDED}:
        yield _superseded(service)


def _superseded(service: ServiceState) -> str:
    """`:42 failed, after :43 had replaced it`."""
    known = {one.id: one for one in service.deployments}
    released = [one for one in service.deployments if one.completed_at and one.is_release]
    for failure in sorted(service.causes, key=lambda one: one.occurred_at, reverse=True):
        old = known.get(failure.deployment_id or "") if failure.event == FAILED else None
        newer = [one for one in released if old and _began(one) > _began(old)]
        if old and newer:
            return _replaced(old.revision, max(newer, key=_began).revision)
    return _replaced("", "")


def _replaced(old: str, new: str) -> str:
    if old and old == new:
        return f"an older deployment of {_revision(old)} failed, after a newer one had replaced it"
    by = _revision(new) if new else "a newer one"
    return f"{_revision(old) if old else 'a deployment'} failed, after {by} had replaced it"


def _root_sign(
    cluster: ClusterState, services: Sequence[ServiceState], jobs: Sequence[ServiceState]
) -> str:
    if cluster.open_services:
        open_ones = [_impact_shown(one) for one in services if one.phase.is_open]
        return _SIGN[max(open_ones, default=Impact.UNKNOWN)]
    failed = [one for one in jobs if one.phase in (Phase.TASK_FAILED, Phase.NOT_RUN)]
    if failed:
        return min((task_sign(one, cluster.key) for one in failed), key="🔴🟠✅".index)
    if any(service.not_live or service.phase is Phase.NOT_LIVE for service in services):
        return "☑️"
    recovered = any(one.phase is Phase.RECOVERED for one in (*services, *jobs))
    return "✅" if recovered else "⚪"


def _span(since: datetime | None, until: datetime | None) -> str:
    """`24 min`, `3 h 5 min`, `2 days`: as exact as a reader wants it."""
    if since is None or until is None:
        return ""
    minutes = max(round((until - since) / timedelta(minutes=1)), 0)
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{minutes} min" if minutes else "less than a minute"


# --- what a reading says ------------------------------------------------------------------------


def serving(reading: ServiceReading | None) -> str:
    """`2 of 3 running on :41`, or nothing when it is not known."""
    if reading is None:
        return ""
    if reading.status == "MISSING":
        return "not in ECS any more"
    running = [deployment for deployment in reading.deployments if deployment.running_count]
    where = ", ".join(
        _revision(deployment.task_definition)
        if len(running) == 1
        else f"{deployment.running_count} on {_revision(deployment.task_definition)}"
        for deployment in running
    )
    on = f" on {where}" if len(running) == 1 else f" ({where})" if running else ""
    return f"{reading.running_count} of {reading.desired_count} running{on}"


def _revision(task_definition: str) -> str:
    """`:42` of a task definition's ARN; any other text whole."""
    label = arns.revision_label(task_definition)
    return f":{label.rpartition(':')[2]}" if ":" in label else label


def _fix(service: ServiceState) -> str:
    """The release that is rolling out although, or because, another failed."""
    if service.reading is None:
        return ""
    failed = failed_deployment(service)
    for row in service.reading.deployments:
        rolls_out = row.status == "PRIMARY" and row.rollout_state == "IN_PROGRESS"
        if failed and rolls_out and _number(row.task_definition) > _number(failed.revision):
            return _revision(row.task_definition)
    return ""


def _number(task_definition: str) -> int:
    """A roll-back goes to a lower revision, a fix comes with a higher one."""
    digits = task_definition.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _table(reading: ServiceReading | None) -> str:
    """The deployments as ECS shows them, in columns."""
    if reading is None or not reading.deployments:
        return ""
    head = ("status", "revision", "desired", "pending", "running", "failed", "rollout")
    rows = [head, *map(_row, reading.deployments[:DEPLOYMENTS_SHOWN])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _row(row: Deployment) -> tuple[str, ...]:
    counts = (row.desired_count, row.pending_count, row.running_count, row.failed_tasks)
    revision = _revision(row.task_definition)
    return (row.status, revision, *map(str, counts), row.rollout_state)


def _links(cluster: ClusterState, services: Sequence[ServiceState]) -> list[tuple[str, str]]:
    pages: list[tuple[str, str | None]] = []
    for service in services[: LINKS_SHOWN - 1]:
        if service.kind is SubjectKind.SERVICE:
            of_one = len(services) == 1
            label = "deployments" if of_one else f"{_name(service)} deployments"
            pages.append((label, arns.service_deployments_url(cluster.key, service.name)))
            if of_one:
                pages.append(("events", arns.service_events_url(cluster.key, service.name)))
                pages += pages_of(service)
    pages.append(("cluster", arns.cluster_url(cluster.key)))
    return [(label, url) for label, url in pages if url and len(url) <= URL_AT_MOST]


# --- templates ----------------------------------------------------------------------------------


def _render(
    template: str,
    telling: Telling,
    services: Sequence[ServiceState],
    heard: Sequence[Heard] = (),
    pages: Sequence[tuple[str, str]] = (),
    **context: Any,
) -> Message:
    """The message, with links to these services; whoever shipped what is `heard` is rung."""
    cluster = telling.cluster
    account = f"{telling.alias} ({cluster.account})" if telling.alias else cluster.account
    missing = tuple(filter(None, (*telling.missing, missing_of(_unread(template, services)))))
    everywhere = {
        "cluster": cut(clean(arns.cluster_name(cluster.key)), NAME_AT_MOST),
        "account": cut(clean(account), NAME_AT_MOST),
        "region": cut(clean(cluster.region), NAME_AT_MOST),
        "where": telling.is_flat,
        "mentions": (*telling.mentions, *_deployers(telling, heard)),
        "missing": missing,
        "flat": telling.is_flat,
        "told_at": telling.now,
        "instead_of": telling.instead_of,
    }
    cleaned = _cleaned({**everywhere, **context}, telling.own_secrets)
    links = [*pages, *_links(cluster, services)]
    text = _templates().get_template(template).render(links=links, **cleaned)
    payload = json.loads(text)
    return Message(text=payload["text"], blocks=tuple(payload["blocks"]))


def _unread(template: str, services: Sequence[ServiceState]) -> Sequence[ServiceState]:
    """Those whose gaps a reader must know of: a root says only that it cannot say what runs."""
    if template == "root.j2":
        return [one for one in services if one.phase.is_open and one.reading is None]
    return services if template in ("failure.j2", "folded.j2") else ()


def _deployers(telling: Telling, heard: Sequence[Heard]) -> list[str]:
    """Whom to ring besides the route's people, each once."""
    if not telling.rings_deployers:
        return []
    found = dict.fromkeys(filter(None, (rung(one, news) for one, news in heard)))
    return [one for one in found if one not in telling.mentions][:RUNG_AT_MOST]


def _within_budget(message: Message) -> Message:
    """Leave out the longest of what is not the headline, until Slack takes the whole."""
    blocks = list(message.blocks)
    while _length(blocks) > MESSAGE_AT_MOST:
        blocks.remove(max(blocks[1:], key=lambda block: len(json.dumps(block))))
    return replace(message, blocks=tuple(blocks))


def _length(blocks: Sequence[Mapping[str, object]]) -> int:
    return len(json.dumps(blocks, ensure_ascii=False))


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_folder()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "at": _at,
        "cut": cut,
        "link": _link,
        "mention": _mention,
        "mrkdwn": _mrkdwn,
        "tail": tail,
    }
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    return environment


def _words() -> Mapping[str, Mapping[str, str]]:
    """The tables of words in the templates, by name."""
    return vars(_templates().get_template("_words.j2").module)


def _folder() -> Path:
    """Beside the package in Lambda and in the repository, within it where it was pip-installed."""
    here = Path(__file__).parent
    return next(path for path in (here / "templates", here.parent / "templates") if path.is_dir())


def _cleaned(value: Any, own_secrets: Sequence[re.Pattern[str]] = ()) -> Any:
    """The same value with nothing in its texts that a reader cannot see, or must not."""
    if isinstance(value, str):
        return redacted(clean(value), own_secrets)
    if isinstance(value, Mapping):
        return {name: _cleaned(item, own_secrets) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item, own_secrets) for item in value]
    if isinstance(value, Line | Cause | Deployer | TaskLine | RunLine | RetryLine):
        of = {field.name: getattr(value, field.name) for field in fields(value)}
        return _cleaned(of, own_secrets)
    return value


def clean(text: str) -> str:
    """Without control, format (bidi, zero-width), surrogate and private characters.

    Line breaks and tabs stay. https://www.unicode.org/reports/tr44/#General_Category_Values
    """
    if text.isprintable():  # most are: of these characters none is
        return text
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")


def cut(text: str, at_most: int) -> str:
    """The text, shortened with `…` so that it is at most so long once it is escaped for Slack."""
    if _cost(text) <= at_most:
        return text
    left = at_most - 1
    for position, character in enumerate(text):
        left -= _cost(character)
        if left < 0:
            return text[:position].rstrip() + "…"
    return text


def tail(lines: Sequence[str], at_most: int) -> str:
    """The last of the lines, whole ones, as many as fit; of one that is too long, its beginning."""
    kept: list[str] = []
    for line in reversed(lines):
        at_most -= _cost(line) + 1
        if at_most < 0 and kept:
            break
        kept.append(cut(line, LOG_LINE_AT_MOST))
    return "\n".join(reversed(kept))


def _cost(text: str) -> int:
    """How long a text is once it is escaped for Slack, in UTF-16 units."""
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    return units + 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))


# Filters that return Markup make text live in Slack on purpose; everything else is escaped.
# https://docs.slack.dev/messaging/formatting-message-text


def _mrkdwn(text: str) -> str:
    """Slack decodes `&amp; &lt; &gt;` only, so the quotes that Jinja escapes are put back."""
    plain_text = str(text)  # Markup's own replace would escape what is put back
    return plain_text.replace("&#39;", "'").replace("&#34;", '"')


def _at(at: datetime) -> "Markup":
    """A time that each reader sees in their own time zone."""
    from markupsafe import Markup

    fallback = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Markup(f"<!date^{int(at.timestamp())}^{{date_short_pretty}} at {{time}}|{fallback}>")


def _link(url: str, label: str) -> "Markup":
    from markupsafe import Markup, escape

    return Markup("<{}|{}>").format(url.replace("|", "%7C"), escape(label.replace("|", " ")))


def _mention(who: str) -> "Markup":
    from markupsafe import Markup

    if who in ("here", "channel"):
        return Markup("<!{}>").format(who)
    return Markup("<!subteam^{}>" if who.startswith("S") else "<@{}>").format(who)
