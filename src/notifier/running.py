"""A one-off task from its start to its end: started once, followed, judged, let go of.

One loop does everything that is due: a start that is to be tried again, a look at the tasks, the
new lines of their logs. Clock, sleep and chance are passed in.

A start whose answer was lost is never repeated blindly. The client token makes ECS start nothing
twice, but only while the task of the first request lives; so before the same request is sent
again, the tasks that carry its mark (`startedBy`) are looked for. Where that cannot be done, or
shows nothing for long, the outcome is unknown, and said to be.
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Protocol

from notifier.arns import revision_label
from notifier.ecs.logs import NoLog, log_in
from notifier.ecs.runs import NotTaken, Taken, is_not_there, may_not
from notifier.errors import ReadFailed
from notifier.facts import LogTail, StoppedTask, TaskDefinition
from notifier.outcome import Ended, Outcome, Seen, TaskShown, deciders, judged, noticed
from notifier.starting import Start, of_error, of_failures, of_stop

# Seconds between two looks: as often at first as a quick job deserves, then as often as ECS allows
# hundreds of us. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
LOOK_EVERY = ((20.0, 1.0), (60.0, 3.0))
LOOK_EVERY_LATER = 6.0
# ECS is eventually consistent: a new task may be MISSING at first, and unlisted.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html
MISSING_FOR = 60.0
UNREADABLE_FOR = 600.0  # then nobody knows any more; credentials may have ended
RESEND_AFTER = 2.0
RESENDS = 5
# The last lines reach CloudWatch Logs after the container's end: the log driver sends every 5 s.
# https://docs.docker.com/engine/logging/drivers/awslogs/#awslogs-force-flush-interval-seconds
LOG_QUIET_FOR = 6.0
LOG_AT_MOST = 20.0
LOG_EVERY = 1.0  # between two reads while nothing but its last lines is waited for
FIRST_PAUSE, LONGEST_PAUSE = 15.0, 600.0  # between two starts
RESTARTS = 2  # of tasks that ECS took and could not start

LEFT_RUNNING = "was left running"
MAY_RUN = "may still run"


class LetGo(StrEnum):
    """What becomes of tasks that still run when we no longer wait for them."""

    STOP = "stop"
    LEAVE = "leave"


class Door(Protocol):
    """ECS and its logs; `notifier.ecs.runs.Runs` describes each."""

    def start(self, request: Mapping[str, Any]) -> Taken:
        """RunTask, sent once. Raises NotTaken."""

    def started(self, started_by: str, family: str) -> tuple[str, ...]:
        """The tasks of the family with this mark. Raises ReadFailed, as do the next ones."""

    def tasks(self, arns: Sequence[str]) -> Mapping[str, TaskShown]:
        """What ECS shows of the tasks; without those that it does not find."""

    def stop(self, arn: str, reason: str) -> None:
        """Ask ECS to stop a task."""

    def lines(self, log: LogTail, token: str) -> tuple[tuple[str, ...], str]:
        """New lines, and the token for the next ones."""


class Listener(Protocol):
    """Who hears what happens, as it happens."""

    def task(self, arn: str, logs: Sequence[LogTail | NoLog]) -> None:
        """A task was started; its ARN and where its containers log to."""

    def lines(self, arn: str, container: str, lines: Sequence[str]) -> None:
        """New lines of a log, in order."""

    def note(self, text: str) -> None:
        """Something that a reader should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be run. `request` are RunTask's parameters without those that this module sets.

    `timeout` in seconds from the beginning, None for none; `key` is unique to this invocation.
    """

    request: Mapping[str, Any]
    definition: TaskDefinition
    key: str
    count: int = 1
    container: str = ""
    timeout: float | None = None
    start_attempts: int = 5
    start_within: timedelta = timedelta(hours=1)
    on_cancel: LetGo = LetGo.STOP
    on_timeout: LetGo = LetGo.LEAVE
    on_partial: LetGo = LetGo.LEAVE
    follows_log: bool = True


@dataclass(frozen=True, slots=True)
class Report:
    """How the run ended: each task's end by ARN, and why the rest of what was asked for is not."""

    outcome: Outcome
    why: str
    ends: Mapping[str, Ended]
    attempts: int


@dataclass(slots=True)
class _Tail:
    log: LogTail
    token: str = ""
    is_readable: bool = True
    read_at: float = 0.0
    new_at: float = 0.0


@dataclass(slots=True)
class _Followed:
    arn: str
    since: float
    tails: list[_Tail]
    seen: Seen = field(default_factory=Seen)
    end: Ended | None = None
    stopped_at: float | None = None  # of a task that ran, whose last lines may still come
    missing_since: float | None = None
    is_done: bool = False  # its end is known, and its log was read until it had come to rest


@dataclass(slots=True)
class _Attempt:
    """One request of RunTask, however often it is sent. `unsure`: it may have started something."""

    number: int
    count: int
    request: Mapping[str, Any]
    due_at: float
    sent: int = 0
    unsure: bool = False
    unread_since: float | None = None

    @property
    def mark(self) -> str:
        return str(self.request["startedBy"])


@dataclass(slots=True)
class Run:
    """One invocation. `cancelled` says why to end early, empty for go on; sleep may end early."""

    wanted: Wanted
    door: Door
    tell: Listener
    monotonic: Callable[[], float]
    sleep: Callable[[float], None]
    chance: Callable[[], float]
    cancelled: Callable[[], str]
    _tasks: dict[str, _Followed] = field(default_factory=dict)
    _attempt: _Attempt | None = None
    _attempts: int = 0
    _restarts: int = 0
    _not_started: str = ""
    _in_doubt: str = ""
    _unread_since: float | None = None
    _began: float = 0.0
    _deciding: Sequence[str] = ()

    def __call__(self) -> Report:
        """Run it. Every error of ECS is told; none is raised.

        What is raised all the same nobody foresaw: `failed` makes a report of it.
        """
        self._began = self.monotonic()
        wanted = self.wanted
        self._deciding = deciders(wanted.definition, wanted.container)
        self._attempt = self._next_attempt(wanted.count, self._began)
        while not self._is_over():
            if report := self._ended_early():
                return report
            self._start_what_is_due()
            self._look()
            self._follow()
            if not self._is_over():
                self.sleep(self._pause())
        return self._report()

    def _ended_early(self) -> Report | None:
        """What there is to report if it is not to go on, else None."""
        wanted = self.wanted
        if not self._has_no_end_yet():  # only the last lines of a log are waited for
            return self._report() if self.cancelled() or self._time_is_up() else None
        if why := self.cancelled():
            return self._let_go(wanted.on_cancel, Outcome.CANCELLED, why)
        if self._time_is_up():
            why = f"not over after {wanted.timeout:.0f} s"
            return self._let_go(wanted.on_timeout, Outcome.TIMED_OUT, why)
        if self._gave_up_on_some() and wanted.on_partial is LetGo.STOP:
            return self._let_go(LetGo.STOP, Outcome.NEVER_STARTED, self._not_started)
        return None

    def failed(self, error: Exception) -> Report:
        """What is known after an error that nobody foresaw. What was to be stopped is stopped."""
        if (why := self.cancelled()) and self.wanted.on_cancel is LetGo.STOP:
            for one in self._without_end():
                one.end = Ended(Outcome.UNKNOWN, self._stop(one, why))
        said = f"{type(error).__name__}: {error}"
        return self.as_it_stands(
            Outcome.UNKNOWN, f"an error that ecs-watch did not foresee: {said}"
        )

    def as_it_stands(self, outcome: Outcome, why: str) -> Report:
        """What is known now, without another call. A task without an end may still run."""
        attempt, self._attempt = self._attempt, None
        if attempt and attempt.sent:
            self._in_doubt = f"whether all was started is not known (startedBy {attempt.mark})"
        for one in self._without_end():
            one.end = Ended(outcome, MAY_RUN)
        report = self._report()
        return replace(report, outcome=outcome, why="; ".join(filter(None, (why, report.why))))

    # --- when -------------------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._attempt is None and all(one.is_done for one in self._tasks.values())

    def _has_no_end_yet(self) -> bool:
        return self._attempt is not None or bool(self._without_end())

    def _without_end(self) -> Sequence[_Followed]:
        return [one for one in self._tasks.values() if one.end is None]

    def _has_come_to_rest(self, one: _Followed) -> bool:
        """Whether its end is known and the last reads of its log brought nothing for long enough.

        How long it is quiet counts from read to read: a pause in which nobody looked says nothing.
        """
        if one.end is None:
            return False
        tails = [tail for tail in one.tails if tail.is_readable]
        if one.stopped_at is None or not tails:
            return True
        last_at = max(one.stopped_at, *(tail.new_at for tail in tails))
        is_quiet = min(tail.read_at for tail in tails) - last_at >= LOG_QUIET_FOR
        return is_quiet or self.monotonic() - one.stopped_at >= LOG_AT_MOST

    def _time_is_up(self) -> bool:
        timeout = self.wanted.timeout
        return timeout is not None and self.monotonic() - self._began >= timeout

    def _pause(self) -> float:
        now = self.monotonic()
        waited = now - self._began
        usual = next((pause for until, pause in LOOK_EVERY if waited < until), LOOK_EVERY_LATER)
        if not self._has_no_end_yet():
            usual = min(usual, LOG_EVERY)
        ends = [usual]
        if self._attempt:
            ends = [self._attempt.due_at - now, *([usual] if self._tasks else [])]
        if self.wanted.timeout is not None:
            ends.append(self._began + self.wanted.timeout - now)
        return max(min(ends), 0.0)

    # --- the start --------------------------------------------------------------------------------

    def _next_attempt(self, count: int, due_at: float) -> _Attempt:
        self._attempts += 1
        number = self._attempts
        request = {
            **self.wanted.request,
            "count": count,
            "startedBy": f"ecs-watch-run/{self.wanted.key[:16]}/{number}",
            "clientToken": sha256(f"{self.wanted.key}/{number}".encode()).hexdigest(),
        }
        return _Attempt(number, count, request, due_at)

    def _start_what_is_due(self) -> None:
        attempt = self._attempt
        if attempt is None or self.monotonic() < attempt.due_at:
            return
        if attempt.unsure and self._found(attempt):
            return
        self._send(attempt)

    def _send(self, attempt: _Attempt) -> None:
        attempt.sent += 1
        try:
            taken = self.door.start(attempt.request)
        except NotTaken as error:
            self._not_taken(attempt, error)
        else:
            self._taken(attempt, taken)

    def _taken(self, attempt: _Attempt, taken: Taken) -> None:
        self._attempt = None
        self._adopt(taken.tasks)
        missing = attempt.count - len(taken.tasks)
        if missing > 0:
            why = "; ".join(dict.fromkeys(taken.reasons)) or "ECS started fewer and gives no reason"
            self._again(missing, of_failures(taken.reasons).start, why)

    def _not_taken(self, attempt: _Attempt, error: NotTaken) -> None:
        start = of_error(error.code, error.message, error.status).start
        if start is Start.TAKEN and error.tasks:
            self._taken(attempt, Taken(error.tasks))
        elif start in (Start.UNKNOWN, Start.TAKEN) or attempt.unsure:
            self._doubt(attempt, str(error))
        else:
            self._attempt = None
            self._again(attempt.count, start, str(error))

    def _again(self, count: int, start: Start, why: str) -> None:
        """Another attempt for so many tasks if the reason passes, or the end of trying."""
        wait = self._wait()
        late = self.monotonic() + wait - self._began > self.wanted.start_within.total_seconds()
        if start is not Start.PASSING or self._attempts >= self.wanted.start_attempts or late:
            tried = "" if self._attempts == 1 else f" after {self._attempts} attempts"
            self._not_started = f"{count} of {self.wanted.count} not started{tried}. Reason: {why}"
            self.tell.note(self._not_started)
            return
        self.tell.note(f"not started: {why}; trying again in {wait:.0f} s")
        self._attempt = self._next_attempt(count, self.monotonic() + wait)

    def _wait(self) -> float:
        """Doubled each time, up to ten minutes, and anything from half of it to all.

        https://docs.aws.amazon.com/general/latest/gr/api-retries.html
        """
        longest = min(FIRST_PAUSE * 2.0 ** (self._attempts - 1), LONGEST_PAUSE)
        return longest * (0.5 + 0.5 * self.chance())

    def _family(self) -> str:
        return revision_label(self.wanted.definition.arn).partition(":")[0]

    # --- a start whose answer was lost ------------------------------------------------------------

    def _doubt(self, attempt: _Attempt, why: str) -> None:
        if not attempt.unsure:
            self.tell.note(f"whether ECS started it is not known ({why}); looking for it")
        attempt.unsure = True
        attempt.due_at = self.monotonic() + RESEND_AFTER * attempt.sent

    def _found(self, attempt: _Attempt) -> bool:
        """Look for what the attempt started; False when the same request may be sent again."""
        try:
            arns = self.door.started(attempt.mark, self._family())
            may_send = not arns or self._one_lives(arns)
        except ReadFailed as error:
            return self._cannot_look(attempt, error)
        self._adopt(arns)
        if len(arns) >= attempt.count:
            self._attempt = None
            return True
        if attempt.sent > RESENDS or not may_send:
            self._give_up_in_doubt(attempt, f"{len(arns)} of {attempt.count} were found")
            return True
        return False

    def _one_lives(self, arns: Sequence[str]) -> bool:
        """Whether the client token still counts: it does while a task of its request lives."""
        return any(not one.has_stopped for one in self.door.tasks(arns).values())

    def _cannot_look(self, attempt: _Attempt, error: ReadFailed) -> bool:
        now = self.monotonic()
        attempt.unread_since = now if attempt.unread_since is None else attempt.unread_since
        if may_not(error) or now - attempt.unread_since > MISSING_FOR:
            self._give_up_in_doubt(attempt, f"it cannot be looked for: {error}")
        else:
            attempt.due_at = now + RESEND_AFTER
        return True

    def _give_up_in_doubt(self, attempt: _Attempt, why: str) -> None:
        self._attempt = None
        self._in_doubt = f"whether all was started is not known; {why} (startedBy {attempt.mark})"
        self.tell.note(self._in_doubt)

    # --- look and follow --------------------------------------------------------------------------

    def _adopt(self, arns: Iterable[str]) -> None:
        """Follow these too: first know all of them, then say so."""
        containers = self.wanted.definition.containers
        new = [arn for arn in dict.fromkeys(arns) if arn not in self._tasks]
        self._tasks |= {arn: _Followed(arn, self.monotonic(), []) for arn in new}
        for arn in new:
            logs = [log_in(arn, one) for one in containers if one.name in self._deciding]
            if self.wanted.follows_log:
                self._tasks[arn].tails += [_Tail(log) for log in logs if isinstance(log, LogTail)]
            self.tell.task(arn, logs)

    def _look(self) -> None:
        open_ones = self._without_end()
        if not open_ones:
            return
        try:
            shown = self.door.tasks([one.arn for one in open_ones])
        except ReadFailed as error:
            self._unread(open_ones, error)
            return
        self._unread_since = None
        for one in open_ones:  # may add an attempt, or take a task away that is to start again
            self._see(one, shown.get(one.arn))

    def _unread(self, open_ones: Iterable[_Followed], error: ReadFailed) -> None:
        now = self.monotonic()
        if self._unread_since is None:
            self._unread_since = now
            self.tell.note(f"the tasks could not be read: {error}")
        if may_not(error) or now - self._unread_since > UNREADABLE_FOR:
            for one in open_ones:
                one.end = Ended(Outcome.UNKNOWN, f"it could not be read: {error}")

    def _see(self, one: _Followed, shown: TaskShown | None) -> None:
        now = self.monotonic()
        if shown is None:
            one.missing_since = one.missing_since if one.missing_since is not None else now
            if now - one.missing_since >= MISSING_FOR:
                one.end = Ended(Outcome.UNKNOWN, "ECS no longer shows the task")
            return
        one.missing_since = None
        one.seen = noticed(one.seen, shown, self._deciding)
        if shown.has_stopped:
            self._stopped(one, shown.task)

    def _stopped(self, one: _Followed, task: StoppedTask) -> None:
        start = of_stop(task).start
        one.end = judged(task, self._deciding, one.seen)
        if task.started_at is not None:
            one.stopped_at = self.monotonic()
        if start is Start.PASSING and self._may_restart():
            self._restarts += 1
            self._again(1 + self._waiting(), start, f"{one.arn}: {one.end.why}")
            if self._attempt is not None:
                del self._tasks[one.arn]

    def _may_restart(self) -> bool:
        """Not while an attempt is out that may yet have started something."""
        is_out = self._attempt is not None and self._attempt.sent > 0
        return self._restarts < RESTARTS * self.wanted.count and not is_out

    def _waiting(self) -> int:
        """How many tasks an attempt that was not sent yet is for; the next one replaces it."""
        waiting, self._attempt = self._attempt, None
        if waiting is None:
            return 0
        self._attempts -= 1
        return waiting.count

    def _follow(self) -> None:
        for one in self._tasks.values():
            if one.is_done:
                continue
            for tail in one.tails:
                if tail.is_readable:
                    self._read(one, tail)
            one.is_done = self._has_come_to_rest(one)

    def _read(self, one: _Followed, tail: _Tail) -> None:
        try:
            lines, tail.token = self.door.lines(tail.log, tail.token)
        except ReadFailed as error:
            if is_not_there(error):
                tail.read_at = self.monotonic()
            elif may_not(error):
                tail.is_readable = False
                self.tell.note(f"the log of {tail.log.container} could not be read: {error}")
            return
        tail.read_at = self.monotonic()
        if lines:
            tail.new_at = tail.read_at
            self.tell.lines(one.arn, tail.log.container, lines)

    # --- the end ----------------------------------------------------------------------------------

    def _gave_up_on_some(self) -> bool:
        return bool(self._not_started) and bool(self._tasks) and self._attempt is None

    def _let_go(self, how: LetGo, outcome: Outcome, why: str) -> Report:
        """Wait no longer: stop what runs, or leave it, and say which."""
        self._settle(why)
        running = self._without_end()
        for one in running:
            said = self._stop(one, why) if how is LetGo.STOP else LEFT_RUNNING
            one.end = Ended(outcome, said)
        report = self._report()
        if outcome is not Outcome.CANCELLED and (self._in_doubt or not running):
            return report  # unknown, or never started: the more telling
        return replace(report, outcome=outcome, why=why)

    def _settle(self, why: str) -> None:
        """Learn once more what an unsure attempt started, so that it is not left unsaid."""
        attempt, self._attempt = self._attempt, None
        if attempt is None:
            return
        if not attempt.unsure:
            self._not_started = f"{attempt.count} of {self.wanted.count} not started. Reason: {why}"
            return
        try:
            arns = self.door.started(attempt.mark, self._family())
        except ReadFailed as error:
            self._give_up_in_doubt(attempt, str(error))
            return
        self._adopt(arns)
        if len(arns) < attempt.count:
            self._give_up_in_doubt(attempt, f"{len(arns)} of {attempt.count} were found")

    def _stop(self, one: _Followed, why: str) -> str:
        try:
            self.door.stop(one.arn, f"ecs-watch run: {why}"[:255])
        except Exception as error:  # also one that nobody foresaw: the others are to be stopped too
            return f"could not be stopped and {MAY_RUN}: {error}"
        return "was told to stop"

    def _report(self) -> Report:
        ends = {arn: one.end for arn, one in self._tasks.items() if one.end}
        return Report(self._outcome(ends.values()), self._why(), ends, self._attempts)

    def _why(self) -> str:
        return "; ".join(filter(None, (self._not_started, self._in_doubt)))

    def _outcome(self, ends: Iterable[Ended]) -> Outcome:
        """Of several tasks the worst: what is not known, then what never started."""
        outcomes = {end.outcome for end in ends}
        if self._in_doubt or Outcome.UNKNOWN in outcomes:
            return Outcome.UNKNOWN
        if self._not_started or Outcome.NEVER_STARTED in outcomes:
            return Outcome.NEVER_STARTED
        return Outcome.EXITED
