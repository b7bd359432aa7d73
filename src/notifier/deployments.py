"""What became of one deployment: the verdict, from what ECS shows of its service.

Pure. Asked is always about *one* deployment, never whether a service is steady: a service is steady
as well when a roll-back has ended, or before ECS shows that anything has begun.

A service's `Deployment` (`ecs-svc/…`) and its `ServiceDeployment` (an ARN) have no key in common. A
service deployment counts as the same one only if it was created from five seconds before to a
minute after the deployment, no other of the service's deployments is nearer, and its target
revision has the same task definition; else the service's own `deployments` decide alone.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Deployment.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ServiceDeployment.html
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from notifier.arns import revision_label
from notifier.facts import ServiceDeployment, StoppedTask
from notifier.model import Deployment, ServiceMessage, ServiceReading
from notifier.tasks import Stop, verdict_on_stopped

FOUND_WITHIN = timedelta(seconds=60)  # ECS may show a deployment later than its call has answered
# What one read alone may show by mistake must stand so long: until the next look or the one after
# it, so that it costs less than ten seconds.
HELD = timedelta(seconds=4.5)
TWO_RECORDS_WITHIN = timedelta(minutes=1)  # of one deployment, as `Deployment` and as the other
OTHER_RECORD_FIRST = timedelta(seconds=5)  # by as much at most
CRASHES = 3
CRASHES_WITHIN = timedelta(minutes=15)
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
_BREAKER_LEAST, _BREAKER_MOST = 3, 200

_BACK_UNDER_WAY = ("ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
_BACK = (*_BACK_UNDER_WAY, "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
_STOPPED = ("STOP_REQUESTED", "STOPPED")
_ROLLING_BACK = "rolling back"
_REVISION = re.compile(r"(?P<family>.+):(?P<number>\d+)")
_EVER = datetime.min.replace(tzinfo=UTC)


class Kind(StrEnum):
    """How it stands with a deployment."""

    LIVE = "live"
    FAILED = "failed"
    ROLLED_BACK = "rolled back"  # or on the way back
    STOPPED = "stopped"
    SUPERSEDED = "superseded"  # by a newer deployment which is no roll-back
    UNDECIDED = "undecided"
    NOT_FOUND = "not found"  # nor guessed

    @property
    def is_failure(self) -> bool:
        """Whether the release did not go live, and nobody replaced it by a newer one."""
        return self in (Kind.FAILED, Kind.ROLLED_BACK, Kind.STOPPED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it stands, and the evidence in lines, the weightiest first.

    `reason` is ECS's own words where it gives some; it is foreign text. `is_going_back`: ECS has
    not finished the roll-back, or not begun it yet. `is_by_crashes`: its tasks die, and ECS has
    said nothing.
    """

    kind: Kind
    evidence: tuple[str, ...] = ()
    reason: str = ""
    is_going_back: bool = False
    is_by_crashes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What is asked of a deployment before it is called live, or failed.

    `settle` is how long it must stay complete without a death. `crashes` is after how many deaths
    within a quarter of an hour it has failed, 0 for never; None: three, and where the circuit
    breaker is on, as many as its threshold of tasks that had been running, which it does not count.
    """

    settle: timedelta = timedelta(seconds=60)
    crashes: int | None = None


USUAL = Policy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mine:
    """The deployment that is asked about; empty and None for what is not known of it."""

    deployment_id: str = ""
    service_deployment: str = ""
    task_definition: str = ""
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deployment is meant: this one, or else the newest that was created since."""

    mine: Mine | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one look at ECS showed of a service.

    `controller` is the type of its deployment controller, `rolls_back` whether ECS rolls back what
    its circuit breaker or alarms fail. `releases` are its service deployments,
    None where they cannot be read; `stopped_tasks` are those of any deployment of it. `said` are
    the service's own messages with their times, newest first, and foreign text.
    """

    reading: ServiceReading
    cluster_arn: str = ""
    controller: str = "ECS"
    has_circuit_breaker: bool = False
    rolls_back: bool = False
    releases: tuple[ServiceDeployment, ...] | None = None
    stopped_tasks: tuple[StoppedTask, ...] = ()
    said: tuple[tuple[datetime, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is remembered from one look to the next, since `began_at`.

    `is_active`, `is_listed`: the service, and the deployment, have been shown once. `gone_since`
    and `absent_since`: they are no longer, or not yet, shown. `complete_since`: all of the
    deployment's tasks have been running, and none died. `deaths` are the ARNs of tasks.
    """

    began_at: datetime
    is_active: bool = False
    is_listed: bool = False
    gone_since: datetime | None = None
    absent_since: datetime | None = None
    complete_since: datetime | None = None
    deaths: frozenset[str] = field(default=frozenset())


# --- which one it is ----------------------------------------------------------------------------


def identified(wanted: Wanted, shown: Shown) -> Mine | None:
    """The deployment that is meant, with all that is shown of it; None while it is not shown."""
    if wanted.mine:
        return _completed(wanted.mine, shown)
    since = wanted.since or _EVER
    rows = [one for one in _newest_first(shown) if (one.created_at or _EVER) >= since]
    releases = [one for one in shown.releases or () if (one.created_at or _EVER) >= since]
    back = [one for one in releases if one.status in _BACK]
    for row in rows:
        if _is_way_back(row, shown, since):
            continue
        if not _may_be_target_of_way_back(row, shown, back):
            return _of_row(row)
        return None if _is_young(row, shown) else _of_release(back)
    return _of_release(back)


def _may_be_target_of_way_back(
    row: Deployment, shown: Shown, back: Sequence[ServiceDeployment]
) -> bool:
    """Whether it has no service deployment of its own, and one that is rolled back began before it.

    When the roll-back is complete nothing in the row itself says any more that it is one.
    """
    before = any((one.created_at or _EVER) <= (row.created_at or _EVER) for one in back)
    return before and _own_release(row, shown) is None


def _is_young(row: Deployment, shown: Shown) -> bool:
    """Whether its service deployment may still come to be shown."""
    return shown.reading.read_at - (row.created_at or _EVER) < TWO_RECORDS_WITHIN


def _of_release(releases: Sequence[ServiceDeployment]) -> Mine | None:
    newest = max(releases, key=lambda one: one.created_at or _EVER, default=None)
    if newest is None:
        return None
    return Mine(
        service_deployment=newest.arn,
        task_definition=newest.task_definition,
        began_at=newest.created_at,
    )


def _of_row(row: Deployment) -> Mine:
    return Mine(deployment_id=row.id, task_definition=row.task_definition, began_at=row.created_at)


def _completed(mine: Mine, shown: Shown) -> Mine:
    """With what is shown of it besides, once it is shown."""
    row = next((one for one in shown.reading.deployments if one.id == mine.deployment_id), None)
    if row:
        return replace(_of_row(row), service_deployment=mine.service_deployment)
    if not mine.service_deployment:
        return mine
    release = _release_of(mine, shown)
    if not release:
        return mine
    known = replace(
        mine, task_definition=release.task_definition, began_at=mine.began_at or release.created_at
    )
    row = None if mine.deployment_id else _own_row(release, shown)
    return replace(known, deployment_id=row.id, began_at=row.created_at) if row else known


def _apart(row: Deployment, release: ServiceDeployment) -> timedelta | None:
    """How long one record was made after the other; None where they are not of one deployment."""
    is_same = row.task_definition == release.task_definition != ""
    if not is_same or not row.created_at or not release.created_at:
        return None
    later = release.created_at - row.created_at
    return abs(later) if -OTHER_RECORD_FIRST <= later <= TWO_RECORDS_WITHIN else None


def _own_row(release: ServiceDeployment, shown: Shown, *more: Deployment) -> Deployment | None:
    """The deployment nearest to it, of those that are shown and `more`."""
    near = [(_apart(one, release), one) for one in (*more, *shown.reading.deployments)]
    pairs = [(apart, one) for apart, one in near if apart is not None]
    return min(pairs, key=lambda pair: pair[0])[1] if pairs else None


def _own_release(row: Deployment, shown: Shown) -> ServiceDeployment | None:
    """The service deployment nearest to it that is nearer to no other deployment."""
    near = [(_apart(row, one), one) for one in shown.releases or ()]
    pairs = [
        (apart, one)
        for apart, one in near
        if apart is not None and _own_row(one, shown, row) == row
    ]
    return min(pairs, key=lambda pair: pair[0])[1] if pairs else None


def _release_of(mine: Mine, shown: Shown) -> ServiceDeployment | None:
    """Its service deployment, if one can be no other's."""
    if mine.service_deployment:
        releases = shown.releases or ()
        return next((one for one in releases if one.arn == mine.service_deployment), None)
    return _own_release(_row_of(mine, shown) or _as_row(mine), shown)


def _as_row(mine: Mine) -> Deployment:
    """What is remembered of it, once ECS does not list it any more."""
    return Deployment(
        id=mine.deployment_id,
        status="",
        task_definition=mine.task_definition,
        desired_count=0,
        pending_count=0,
        running_count=0,
        failed_tasks=0,
        rollout_state="",
        rollout_state_reason="",
        created_at=mine.began_at,
        updated_at=None,
    )


def _row_of(mine: Mine, shown: Shown) -> Deployment | None:
    rows = shown.reading.deployments
    return next((one for one in rows if one.id == mine.deployment_id != ""), None)


def _primary(shown: Shown) -> Deployment | None:
    return next((one for one in shown.reading.deployments if one.status == "PRIMARY"), None)


def _newest_first(shown: Shown) -> Sequence[Deployment]:
    rows = shown.reading.deployments
    return sorted(rows, key=lambda one: one.created_at or _EVER, reverse=True)


# --- what is remembered -------------------------------------------------------------------------


def remembered(mine: Mine | None, shown: Shown, seen: Seen) -> Seen:
    """What is known after this look."""
    now = shown.reading.read_at
    is_active = shown.reading.status == "ACTIVE"
    row = _row_of(mine, shown) if mine else None
    deaths = seen.deaths | {one.arn for one in _dead(mine, shown)}
    is_complete = mine is not None and _is_complete(mine, shown)
    since = seen.complete_since if deaths == seen.deaths else None
    return Seen(
        began_at=seen.began_at,
        is_active=seen.is_active or is_active,
        is_listed=seen.is_listed or row is not None,
        gone_since=None if is_active else seen.gone_since or now,
        absent_since=None if row else seen.absent_since or now,
        complete_since=(since or now) if is_complete else None,
        deaths=deaths,
    )


def _dead(mine: Mine | None, shown: Shown) -> Sequence[StoppedTask]:
    """Its tasks that failed, or ended although a service's tasks never should."""
    if not mine or not mine.deployment_id:
        return []
    return [
        one
        for one in shown.stopped_tasks
        if one.started_by == mine.deployment_id and verdict_on_stopped(one) is not Stop.BENIGN
    ]


def _is_complete(mine: Mine, shown: Shown) -> bool:
    """Whether ECS calls it complete, all its tasks run, and those of every other are gone.

    An absent `rolloutState` (Classic Load Balancer) leaves it to the tasks. A service deployment
    that is known must have ended well too: until then it may bake, clean up, or wait for a hook.
    """
    row, release = _row_of(mine, shown), _release_of(mine, shown)
    if release and release.status != "SUCCESSFUL":
        return False
    if row is None or row.status != "PRIMARY" or row.rollout_state not in ("COMPLETED", ""):
        return False
    runs = row.running_count >= max(row.desired_count, shown.reading.desired_count)
    left = [one for one in shown.reading.deployments if one.status != "INACTIVE"]
    return runs and not row.pending_count and len(left) == 1


# --- the verdict --------------------------------------------------------------------------------


def why_unanswerable(shown: Shown) -> str:
    """Why nobody but another service's API can tell; empty where ECS can.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-types.html
    """
    if shown.controller == "CODE_DEPLOY":
        return (
            "CodeDeploy deploys this service, and ECS shows no deployments of it: ask "
            "`aws deploy wait deployment-successful --deployment-id d-…`"
        )
    if shown.controller not in ("", "ECS"):
        return (
            f"its deployment controller is {shown.controller}, and ECS shows no deployments of it, "
            "only task sets: ask the system that makes them"
        )
    return ""


def verdict(mine: Mine | None, shown: Shown, seen: Seen, policy: Policy) -> Verdict:
    """How it stands, after `remembered` has taken in the same look."""
    found = _of_service(shown, seen)
    if found:
        return found
    if mine is None or (mine.began_at is None and not _said_failed(mine, shown)):
        return _not_found_yet(mine, shown, seen)
    decided = (
        _gone_back(mine, shown),
        _failed(mine, shown),
        _replaced(mine, shown),
        _stopped(mine, shown),
        _vanished(mine, shown, seen),
        _crashed(mine, shown, policy),
        _live(mine, shown, seen, policy),
    )
    undecided = Verdict(kind=Kind.UNDECIDED, evidence=(progress(mine, shown),))
    return next(filter(None, decided), undecided)


def _of_service(shown: Shown, seen: Seen) -> Verdict | None:
    """A service that is not there, or ends.

    Until it was shown once, a look may be of before its creation, or show an earlier service of its
    name that was deleted; hardly one that drains, for then none of its name can be made.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
    """
    status, since = shown.reading.status, seen.gone_since
    if status == "ACTIVE" or not since:
        return None
    is_ending = seen.is_active or status == "DRAINING"
    held = timedelta(0) if (seen.is_active and status == "DRAINING") else HELD
    is_sure = shown.reading.read_at - since >= (held if is_ending else FOUND_WITHIN)
    sure = Kind.FAILED if is_ending else Kind.NOT_FOUND
    return Verdict(
        kind=sure if is_sure else Kind.UNDECIDED, evidence=(_said_of_service(status, seen),)
    )


def _said_of_service(status: str, seen: Seen) -> str:
    if status != "MISSING":
        return f"the service is {status}: deleted"
    if seen.is_active:
        return "the service is not there any more"
    return "there is no such service in the cluster"


def _not_found_yet(mine: Mine | None, shown: Shown, seen: Seen) -> Verdict:
    said = (
        f"ECS shows no deployment {mine.deployment_id or mine.service_deployment}"
        if mine
        else "ECS shows no deployment that began since"
    )
    is_late = shown.reading.read_at - seen.began_at >= FOUND_WITHIN
    kind = Kind.NOT_FOUND if is_late else Kind.UNDECIDED
    return Verdict(kind=kind, evidence=(said, "none is guessed") if is_late else (said,))


def _gone_back(mine: Mine, shown: Shown) -> Verdict | None:
    """Its own service deployment is rolled back."""
    release = _release_of(mine, shown)
    if release is None or release.status not in _BACK:
        return None
    said = {
        "ROLLBACK_SUCCESSFUL": "ECS rolled it back",
        "ROLLBACK_FAILED": "ECS rolled it back, and the roll-back failed too",
    }.get(release.status, "ECS is rolling it back")
    return Verdict(
        kind=Kind.ROLLED_BACK,
        evidence=(said, *_counts(release), *_serves(mine, shown)),
        reason=release.rollback_reason or release.status_reason or _said_failed(mine, shown),
        is_going_back=release.status in _BACK_UNDER_WAY,
    )


def _failed(mine: Mine, shown: Shown) -> Verdict | None:
    """ECS says that it failed, in its row or in a message of the service."""
    row, said = _row_of(mine, shown), _said_failed(mine, shown)
    if not said and not (row and row.rollout_state == "FAILED"):
        return None
    reason = said or (row.rollout_state_reason if row else "")
    release, primary = _release_of(mine, shown), _primary(shown)
    if primary and _goes_back(primary, mine, shown):
        return _way_back(mine, shown, primary, reason)
    evidence = ("ECS says that it failed", *(_counts(release) if release else ()))
    return Verdict(
        kind=Kind.FAILED,
        evidence=evidence,
        reason=reason,
        is_going_back=_will_go_back(mine, shown),
    )


def _will_go_back(mine: Mine, shown: Shown) -> bool:
    """Whether ECS has failed it and the roll-back, which is yet to be shown, comes next."""
    release, began_at = _release_of(mine, shown), mine.began_at or _EVER
    is_stopped = release is not None and release.status in _STOPPED
    has_older = any((one.created_at or _EVER) < began_at for one in shown.reading.deployments)
    return shown.rolls_back and has_older and not is_stopped


def _replaced(mine: Mine, shown: Shown) -> Verdict | None:
    """Another one is PRIMARY: a way back, or a newer one.

    Where mine is not listed beside an older one, the read may be of before it began, and what is
    shown as a roll-back then is an earlier release's.
    """
    primary = _primary(shown)
    if primary is None or primary.id == mine.deployment_id:
        return None
    is_newer = _is_newer(primary, mine)
    if not is_newer and _row_of(mine, shown) is None:
        return None
    if is_newer and (between := _between(mine, primary, shown)):
        return Verdict(kind=Kind.SUPERSEDED, evidence=(f"{between.arn} began after it",))
    is_called_so = _is_way_back(primary, shown, mine.began_at)
    if is_called_so or (is_newer and _goes_back(primary, mine, shown)):
        reason = primary.rollout_state_reason if is_called_so else ""
        return _way_back(mine, shown, primary, reason)
    if not is_newer:
        return None
    newer = f"{primary.id} ({revision_label(primary.task_definition)}) is PRIMARY now"
    return Verdict(kind=Kind.SUPERSEDED, evidence=(newer,))


def _between(mine: Mine, primary: Deployment, shown: Shown) -> ServiceDeployment | None:
    """What began after mine and before the PRIMARY one: that is rolled back then, not mine."""
    own = _release_of(mine, shown)
    until = primary.created_at or _EVER
    if own is None or own.created_at is None:
        return None
    later = (
        one
        for one in shown.releases or ()
        if one.created_at and own.created_at < one.created_at <= until
    )
    others = (one for one in later if one != _own_release(primary, shown))
    return next(others, None)


def _goes_back(primary: Deployment, mine: Mine, shown: Shown) -> bool:
    """Whether another one is PRIMARY which is older, or has an older revision, or is called so."""
    if primary.id == mine.deployment_id:
        return False
    is_older = _is_older(primary.task_definition, mine.task_definition)
    is_back = is_older or _is_way_back(primary, shown, mine.began_at)
    return is_back or not _is_newer(primary, mine)


def _is_newer(primary: Deployment, mine: Mine) -> bool:
    """Of one that is known by its service deployment alone, the row may be a moment older or not.

    It is the same one then, unless its task definition is another.
    """
    created, began = primary.created_at or _EVER, mine.began_at or _EVER
    may_be_mine = not mine.deployment_id and primary.task_definition == mine.task_definition
    return created > began + (TWO_RECORDS_WITHIN if may_be_mine else timedelta(0))


def _stopped(mine: Mine, shown: Shown) -> Verdict | None:
    """Somebody stopped it, or a newer one did."""
    release = _release_of(mine, shown)
    if release is None or release.status not in _STOPPED:
        return None
    newer = [
        one
        for one in shown.releases or ()
        if (one.created_at or _EVER) > (release.created_at or _EVER)
    ]
    if newer:
        return Verdict(kind=Kind.SUPERSEDED, evidence=(f"{newer[0].arn} began after it",))
    has_tripped = release.threshold and (release.failure_count or 0) >= release.threshold
    kind = Kind.FAILED if has_tripped else Kind.STOPPED
    said = "its circuit breaker triggered" if has_tripped else f"its status is {release.status}"
    return Verdict(kind=kind, evidence=(said, *_counts(release)), reason=release.status_reason)


def _vanished(mine: Mine, shown: Shown, seen: Seen) -> Verdict | None:
    """It is not listed, and an older one is PRIMARY again.

    A read may be of before it began, so this must last: until nobody would find a new one either
    where it was never shown, until the next look where it was.
    """
    primary, now = _primary(shown), shown.reading.read_at
    if _row_of(mine, shown) or primary is None or not mine.deployment_id:
        return None
    lasts = now - (seen.absent_since or now)
    if lasts < (HELD if seen.is_listed else FOUND_WITHIN):
        return None
    return _way_back(mine, shown, primary, "")


def _way_back(mine: Mine, shown: Shown, primary: Deployment, reason: str) -> Verdict:
    release = _release_of(mine, shown)
    counts = _counts(release) if release else ()
    return Verdict(
        kind=Kind.ROLLED_BACK,
        evidence=("ECS went back to an older release", *counts, *_serves(mine, shown)),
        reason=reason or _said_failed(mine, shown),
        is_going_back=primary.rollout_state == "IN_PROGRESS",
    )


def _crashed(mine: Mine, shown: Shown, policy: Policy) -> Verdict | None:
    """Its tasks die one after the other, which ECS itself may never call a failure.

    `failedTasks` alone says too little: it falls back to 0 with one task that runs, and does not
    count those that die later.
    """
    most, row = _crashes_allowed(mine, shown, policy), _row_of(mine, shown)
    counts_all = not shown.has_circuit_breaker or policy.crashes is not None
    dead = [one for one in _dead(mine, shown) if one.started_at or counts_all]
    failed = row.failed_tasks if row and counts_all else 0
    crashes = max(_within_window(dead), failed)
    if not most or crashes < most or _has_recovered(mine, dead, shown):
        return None
    return Verdict(
        kind=Kind.FAILED,
        evidence=(f"{crashes} of its tasks failed, and ECS goes on trying",),
        is_by_crashes=True,
    )


def _within_window(dead: Sequence[StoppedTask]) -> int:
    """How many died within a quarter of an hour, by ECS's times alone, before the newest death."""
    newest = max((one.stopped_at or _EVER for one in dead), default=_EVER)
    return sum(not one.stopped_at or newest - one.stopped_at <= CRASHES_WITHIN for one in dead)


def _has_recovered(mine: Mine, dead: Sequence[StoppedTask], shown: Shown) -> bool:
    """Whether it is complete, and none died for a quarter of an hour.

    Our own clock is off by five minutes at most: else AWS refuses what we sign.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-signing.html
    """
    now = shown.reading.read_at
    calm = all(one.stopped_at and now - one.stopped_at > CRASHES_WITHIN for one in dead)
    return calm and _is_complete(mine, shown)


def _crashes_allowed(mine: Mine, shown: Shown, policy: Policy) -> int:
    if policy.crashes is not None:
        return policy.crashes
    if not shown.has_circuit_breaker:
        return CRASHES
    release = _release_of(mine, shown)
    if release and release.threshold:
        return max(release.threshold, CRASHES)
    half = -(-shown.reading.desired_count // 2)
    return min(max(half, _BREAKER_LEAST), _BREAKER_MOST)


def _live(mine: Mine, shown: Shown, seen: Seen, policy: Policy) -> Verdict | None:
    if seen.complete_since is None:
        return None
    since = shown.reading.read_at - seen.complete_since
    if since < policy.settle:
        left = round((policy.settle - since).total_seconds())
        return Verdict(kind=Kind.UNDECIDED, evidence=(f"complete, watched for {left} s more",))
    return Verdict(kind=Kind.LIVE, evidence=tuple(_why_live(mine, shown)))


def _why_live(mine: Mine, shown: Shown) -> Iterator[str]:
    row = _row_of(mine, shown)
    if row is None:
        return
    if not max(row.desired_count, shown.reading.desired_count):
        yield "its desired count is 0: it is deployed, and nothing runs"
    else:
        yield f"{row.running_count} of {row.desired_count} running, no other deployment is left"
    if not row.rollout_state:
        yield "ECS reports no rollout state for it: judged by its tasks alone"
    if shown.releases is None:
        yield "service deployments could not be read: judged by the service's deployments alone"


# --- evidence -----------------------------------------------------------------------------------


def _is_way_back(row: Deployment, shown: Shown, since: datetime | None) -> bool:
    """Whether ECS calls this deployment a roll-back, in its row or in a message since then."""
    said = (one for one in _messages(row.id, shown) if not one.is_failure)
    later = (one for one in said if one.at >= (since or _EVER))
    return _ROLLING_BACK in row.rollout_state_reason.lower() or any(later)


def _said_failed(mine: Mine, shown: Shown) -> str:
    """What the service's messages say of its failure; empty for nothing."""
    failures = (one for one in _messages(mine.deployment_id, shown) if one.is_failure)
    return next((one.text for one in failures), "")


def _messages(deployment_id: str, shown: Shown) -> Iterator[ServiceMessage]:
    if deployment_id:
        yield from (one for one in shown.reading.messages if one.deployment_id == deployment_id)


def _is_older(one: str, other: str) -> bool:
    """Whether it is an earlier revision of the same family."""
    earlier = _REVISION.fullmatch(revision_label(one))
    later = _REVISION.fullmatch(revision_label(other))
    if not earlier or not later or earlier["family"] != later["family"]:
        return False
    return int(earlier["number"]) < int(later["number"])


def _counts(release: ServiceDeployment) -> tuple[str, ...]:
    """What the circuit breaker counted, and which alarms triggered."""
    counted = release.failure_count and release.threshold is not None
    breaker = f"circuit breaker {release.failure_count} of {release.threshold}"
    alarms = f"alarms: {', '.join(release.alarms)}"
    return (*([breaker] if counted else []), *([alarms] if release.alarms else []))


def _serves(mine: Mine, shown: Shown) -> tuple[str, ...]:
    """What serves instead, where another one is PRIMARY."""
    primary = _primary(shown)
    if primary is None or primary.id == mine.deployment_id:
        return ()
    running = f"{primary.running_count} of {primary.desired_count} running"
    return (f"{running} on {revision_label(primary.task_definition)}",)


def progress(mine: Mine, shown: Shown) -> str:
    """How far it is: its tasks, those of the others, the rollout and the stage of a blue/green."""
    row, release = _row_of(mine, shown), _release_of(mine, shown)
    others = [one for one in shown.reading.deployments if one.id != mine.deployment_id]
    old = sum(one.running_count for one in others)
    parts = [
        f"new {_tasks(row)}" if row else "not shown yet",
        f"old {old} running" if others else "",
        row.rollout_state if row else "",
        release.lifecycle_stage if release else "",
        *(
            f"hook at {one} waits for somebody"
            for one in (release.hooks_waiting if release else ())
        ),
    ]
    return " · ".join(filter(None, parts))


def _tasks(row: Deployment) -> str:
    more = ((row.pending_count, "pending"), (row.failed_tasks, "failed"))
    shown = "".join(f", {count} {what}" for count, what in more if count)
    return f"{row.running_count} of {row.desired_count} running{shown}"
