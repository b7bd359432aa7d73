"""Watch deployments until each has a verdict: what `ecs-watch confirm` and `confirmation` do.

ECS is read every few seconds, with jitter, so that a failure is known seconds after ECS knows it.
An error that may pass makes the pauses longer and never makes a verdict. Time, sleep and chance are
passed in. Nothing is changed in ECS.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from notifier import arns
from notifier.causes import Cause, cause_of, missing_of, pages_of
from notifier.deployments import (
    USUAL,
    Kind,
    Mine,
    Policy,
    Seen,
    Shown,
    Verdict,
    Wanted,
    identified,
    progress,
    remembered,
    verdict,
    why_unanswerable,
)
from notifier.ecs.reads import is_final
from notifier.errors import ReadFailed, WatchError
from notifier.explanation import explanation
from notifier.facts import Asked, Facts
from notifier.incidents import FAILED, TASKS_DIE
from notifier.model import Failure, Phase, ServiceReading, ServiceState

PAUSE = timedelta(seconds=4)
LONG_PAUSE = timedelta(seconds=7)  # once it takes longer than `SOON`
SOON = timedelta(minutes=5)
LONGEST_PAUSE = timedelta(seconds=60)  # between reads that fail
SAID_ALIKE = timedelta(minutes=1)  # a line of progress is repeated so often


class NotAnswerable(WatchError):
    """ECS cannot tell what becomes of this service's deployments; the text says who can."""


class Door(Protocol):
    """What is read of the services. Raises ReadFailed."""

    def look(
        self, since: Mapping[str, datetime | None], now: Callable[[], datetime]
    ) -> Mapping[str, Shown]:
        """What ECS shows now of each service."""

    @property
    def refused(self) -> Mapping[str, str]:
        """The reads that are not allowed or never answered, and why."""


class Explains(Protocol):
    """What explains a failure. Raises ReadFailed."""

    def facts(
        self, cluster_arn: str, asked: Sequence[Asked], now: datetime
    ) -> Mapping[str, tuple[ServiceReading | None, Facts]]:
        """What runs now, and why it fails."""


class Listener(Protocol):
    """Who is told how it goes on. All texts of ECS's are foreign."""

    def says(self, service: str, at: datetime, message: str) -> None:
        """The service itself said something since it is watched."""

    def goes_on(self, service: str, at: datetime, line: str) -> None:
        """How far it is; again and again."""

    def cannot_read(self, at: datetime, why: str, pause: timedelta) -> None:
        """A look failed, and comes again after a pause."""

    def ended(self, found: "Confirmation") -> None:
        """One service has its verdict, and the others may go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What became of one service's deployment.

    `cause`, `pages` (labels and addresses) and `missing` explain what is not live; of those that
    are, only the page of the deployments is given. `seconds` is how long it was watched.
    """

    service: str
    verdict: Verdict
    mine: Mine | None = None
    cause: Cause | None = None
    pages: tuple[tuple[str, str], ...] = ()
    missing: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class _Watched:
    """One service, from one look to the next."""

    wanted: Wanted
    seen: Seen
    mine: Mine | None = None
    shown: Shown | None = None
    verdict: Verdict = field(default_factory=lambda: Verdict(kind=Kind.UNDECIDED))
    heard: datetime | None = None

    def look(self, shown: Shown, policy: Policy) -> None:
        """Judge it anew."""
        wanted = Wanted(mine=self.mine) if self.mine else self.wanted
        self.shown = shown
        self.mine = identified(wanted, shown)
        self.seen = remembered(self.mine, shown, self.seen)
        self.verdict = verdict(self.mine, shown, self.seen, policy)

    def is_done(self, *, wait_rollback: bool) -> bool:
        """Whether there is nothing more to wait for."""
        if self.verdict.kind is Kind.UNDECIDED:
            return False
        return not (wait_rollback and self.verdict.is_going_back)


@dataclass(slots=True)
class Confirming:
    """Watches the services of one cluster. `random` gives numbers from 0 up to 1.

    `timeout` is for all of them together; with `wait_rollback` a roll-back is watched to its end.
    """

    door: Door
    explains: Explains
    cluster: str
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    random: Callable[[], float]
    listener: Listener
    policy: Policy = USUAL
    timeout: timedelta = timedelta(minutes=30)
    wait_rollback: bool = False

    def confirm(self, wanted: Mapping[str, Wanted]) -> tuple[Confirmation, ...]:
        """What became of each service's deployment, in the order asked for.

        The listener is told of each as soon as it has ended, so what is known is told also when
        this raises: ReadFailed when ECS refuses to be read at all, NotAnswerable when it cannot
        tell.
        """
        began_at = self.now()
        watched = {name: _Watched(one, Seen(began_at=began_at)) for name, one in wanted.items()}
        done: dict[str, Confirmation] = {}
        errors = 0
        while True:
            left = {name: one for name, one in watched.items() if name not in done}
            failed = self._tried(left)
            errors = errors + 1 if failed else 0
            is_over = self.now() - began_at >= self.timeout
            for name, one in left.items():
                if is_over or one.is_done(wait_rollback=self.wait_rollback):
                    done[name] = self._confirmation(name, one, str(failed or ""))
                    self.listener.ended(done[name])
            if len(done) == len(watched):
                return tuple(done[name] for name in wanted)
            pause = self._pause(began_at, errors)
            if failed:
                self.listener.cannot_read(self.now(), str(failed), pause)
            self._rest(pause, began_at)

    # --- looks ----------------------------------------------------------------------------------

    def _tried(self, watched: Mapping[str, _Watched]) -> ReadFailed | None:
        """Look; what comes of an error that may pass. Raises those that will not."""
        try:
            self._look(watched)
        except ReadFailed as failed:
            if is_final(failed) and failed.operation == "DescribeServices":
                raise
            return failed
        return None

    def _look(self, watched: Mapping[str, _Watched]) -> None:
        since = {name: _since(one) for name, one in watched.items()}
        for name, shown in self.door.look(since, self.now).items():
            if why := why_unanswerable(shown):
                raise NotAnswerable(f"{name}: {why}")
            one = watched[name]
            one.look(shown, self.policy)
            self._tell(name, one, shown)

    def _tell(self, name: str, one: _Watched, shown: Shown) -> None:
        began = _since(one) or one.seen.began_at
        heard = one.heard or began
        for at, message in reversed(shown.said):
            if at > heard:
                self.listener.says(name, at, message)
        one.heard = max((heard, *(at for at, _ in shown.said)))
        is_shown = one.mine and one.verdict.kind is Kind.UNDECIDED
        lines = [progress(one.mine, shown)] if one.mine and is_shown else []
        lines += [line for line in one.verdict.evidence if line not in lines]
        self.listener.goes_on(name, shown.reading.read_at, " · ".join(lines))

    def _pause(self, began_at: datetime, errors: int) -> timedelta:
        """Twice as long with each error in a row."""
        if errors:
            return min(PAUSE * (1 << min(errors, 10)), LONGEST_PAUSE)
        return PAUSE if self.now() - began_at < SOON else LONG_PAUSE

    def _rest(self, pause: timedelta, began_at: datetime) -> None:
        """Wait, a little longer or shorter than the others do; never past the time-out."""
        left = (began_at + self.timeout - self.now()).total_seconds()
        wanted = pause.total_seconds() * (0.8 + 0.4 * self.random())
        self.sleep(max(min(wanted, left), 0.1))

    # --- the end --------------------------------------------------------------------------------

    def _confirmation(self, name: str, one: _Watched, why: str) -> Confirmation:
        """What became of it; `why` ECS could not be read at last, empty where it could."""
        found, lasted = one.verdict, self.now() - one.seen.began_at
        if found.kind is Kind.UNDECIDED:
            unread = f"ECS could not be read: {why}" if why else ""
            late = f"no verdict after {_span(lasted)}"
            evidence = (late, *filter(None, (unread,)), *found.evidence)
            found = replace(found, evidence=evidence)
        made = Confirmation(
            service=name,
            verdict=found,
            mine=one.mine,
            pages=_deployments_page(one.shown),
            seconds=round(lasted.total_seconds(), 1),
        )
        is_to_explain = found.kind.is_failure or found.kind is Kind.UNDECIDED
        return self._explained(made, one) if is_to_explain and one.mine and not why else made

    def _explained(self, made: Confirmation, one: _Watched) -> Confirmation:
        """With why it fails, as far as that can be read."""
        mine = one.mine or Mine()
        asked = Asked(
            service=made.service,
            deployment_id=mine.deployment_id or None,
            failing_revision=mine.task_definition,
            began_at=mine.began_at,
        )
        try:
            _, facts = self.explains.facts(self.cluster, [asked], self.now())[made.service]
        except ReadFailed as failed:
            return replace(made, missing=f"could not be read: {failed}")
        state = _state_of(made, self.now())
        state = replace(state, explanation=explanation(state, facts))
        found = cause_of(state, facts.logs)
        pages = tuple((label, url) for label, url in pages_of(state) if url)
        return replace(made, cause=found, pages=(*pages, *made.pages), missing=missing_of([state]))


def _since(one: _Watched) -> datetime | None:
    known = one.mine or one.wanted.mine
    return known.began_at if known else one.wanted.since


def _state_of(made: Confirmation, now: datetime) -> ServiceState:
    """The service as it would be remembered had the failure come as an event."""
    mine, found = made.mine or Mine(), made.verdict
    failure = Failure(
        event=TASKS_DIE if found.is_by_crashes or not found.kind.is_failure else FAILED,
        reason=found.reason,
        deployment_id=mine.deployment_id or None,
        occurred_at=now,
    )
    return ServiceState(name=made.service, phase=Phase.FAILING, since=now, causes=(failure,))


def _deployments_page(shown: Shown | None) -> tuple[tuple[str, str], ...]:
    url = shown and arns.service_deployments_url(shown.cluster_arn, shown.reading.service)
    return (("deployments", url),) if url else ()


def _span(lasted: timedelta) -> str:
    seconds = round(lasted.total_seconds())
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
