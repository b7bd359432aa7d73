"""One world with one seed, run until it is at rest.

The program is the real one from its entry points down; what it is built on is put in its place in
`notifier.wiring`, and the invocation's clock and ids in `notifier.handler`.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from random import Random
from typing import Any
from unittest.mock import patch

import notifier.slack
import notifier.store
from notifier import handler, wiring
from notifier.model import Census, Invocation
from notifier.settings import Settings
from notifier.store import Store
from notifier.store.rows import from_json
from notifier.wiring import Program
from tests.simulator import dynamodb, ecs
from tests.simulator.audit import Audit
from tests.simulator.faults import CALM, Dice, Faults
from tests.simulator.queue import FUNCTION_TIMEOUT, Message, Queue
from tests.simulator.scheduler import DAY, HOUR, MINUTE, START, Process, Scheduler
from tests.simulator.scripts import Story
from tests.simulator.slack import ANSWERS_IN, Slack, Webhook

TICK_TIMEOUT = 300.0
# The longest hold-down; ten receives, six minutes apart, and every back-off are less.
REST_WITHIN = 8 * HOUR
# What is open is read every quarter of an hour, and its root shows it five minutes later.
SEEN_WITHIN = 22 * MINUTE

# Where the census stands when a history begins.
HOURLY = Census(started_at=START, finished_at=START, is_listed=True)
NEVER = replace(HOURLY, started_at=START + timedelta(days=1000))


@dataclass(frozen=True)
class Cast:
    """A service and its story, which begins after so many seconds."""

    cluster: str
    service: str
    story: Story
    begins: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """Stories under faults. `cast` and `arrange` draw what the seed decides.

    `around` is what the program is like meanwhile.

    Faults last `faults_for` seconds; then the world must come to rest. `census` is where the
    program's stands at the start: None when its first is still to come. `may_read`: whether the bot
    has the history scope. Within `told_within` seconds, where given, each failure is to be told,
    but for those of the `bad_cluster`. `table_answers_in` and `slack_answers_in` are typical
    seconds of a call; the mean is twice that.
    """

    name: str
    cast: Callable[[Random], Sequence[Cast]]
    faults: Faults = CALM
    faults_for: float = 15 * MINUTE
    channels: str = "*=C0SHOP"
    arrange: Callable[["History"], None] = lambda _history: None
    around: Callable[["History"], AbstractContextManager[None]] = lambda _history: nullcontext()
    silent: bool = False
    census: Census | None = NEVER
    may_read: bool = True
    told_within: float = 0.0
    table_answers_in: float = 2 * dynamodb.TYPICAL
    slack_answers_in: float = 2 * ANSWERS_IN
    bad_cluster: str = ""

    @property
    def census_finds(self) -> bool:
        """Whether the census reads every service in this scenario."""
        return self.census is None or self.census.started_at == START


@dataclass(frozen=True)
class Alarm:
    """An error line of the program's, which an alarm watches."""

    at: float
    text: str
    told: Mapping[str, int]
    why: str


@dataclass
class _Context:
    """Lambda's context, with the invocation that the simulator made for it."""

    run: Any
    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        return int(self.run.remaining().total_seconds() * 1000)


@dataclass
class History:
    """A scenario and a seed. With `store` a test breaks the program on purpose.

    `kill` and `given_dice` take the place of what the scenario's faults decide by chance.
    """

    scenario: Scenario
    seed: int
    store: type[Store] = Store
    kill: Callable[[int, bool], bool] | None = None
    given_dice: Callable[[Random], Dice] | None = None
    alarms: list[Alarm] = field(default_factory=list)
    came_to_rest: bool = False
    stories_left: int = 0
    settled_at: float = 0.0
    stalls: int = 0
    invoked: dict[str, int] = field(default_factory=dict)
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.rng = rng = Random(self.seed)
        self.dice = self.given_dice(rng) if self.given_dice else Dice(self.scenario.faults, rng)
        self.scheduler = Scheduler(rng, self.kill or self._killed, self._stalled)
        lag = self.scenario.faults.index_lag
        self.table = dynamodb.Table(
            now=lambda: self.scheduler.clock,
            lag=lambda: rng.expovariate(1 / lag) if lag else 0.0,
            page_bytes=rng.choice([2_000, 20_000, dynamodb.PAGE_BYTES]),
        )
        one_way = self.scenario.table_answers_in / 2
        self.dynamodb = dynamodb.Client(self.table, self.scheduler, self.dice, one_way)
        self.slack = Slack(
            self.scheduler, self.dice, self.scenario.may_read, self.scenario.slack_answers_in / 2
        )
        self.audit = Audit(self.table, self.scheduler)
        self.table.changed, self.slack.arrived = self.audit.changed, self.audit.arrived
        self.queue = Queue(self.scheduler, self.dice, self._invoke_on_events)
        self.account = ecs.Account(self.scheduler, self.dice, self.queue.send)
        self.ecs = ecs.Client(self.account)
        self._warm: dict[str, list[Program]] = {"on_events": [], "on_tick": []}
        self._programs: dict[str, Program] = {}

    # --- the run ------------------------------------------------------------------------------

    def run(self, *, rests: bool = True) -> "History":
        """Play the stories, let the faults end, and wait until nothing is left to do."""
        with self._wired(), _alarms(self), self.scenario.around(self):
            if self.scenario.census:
                self.sane_store().save_census(self.scenario.census)
            self.scenario.arrange(self)
            for cast in self.scenario.cast(self.rng):
                self._begin(cast)
            # Whether all is at rest is asked on the minute: no tick is under way then.
            self.scheduler.after(self.rng.uniform(0, MINUTE - 10), self._tick)
            self.scheduler.run_until(self.scenario.faults_for)
            self.dice.on = False
            if rests:
                self.scheduler.run_until(self.slack.well_again_at)
                self._come_to_rest()
        return self

    def _come_to_rest(self) -> None:
        give_up_at = self.scheduler.clock + REST_WITHIN
        quiet_ticks = 0
        while quiet_ticks < 2 and (self.stories_left or self.scheduler.clock < give_up_at):
            self.scheduler.run_until(self.scheduler.clock + MINUTE)
            quiet_ticks = quiet_ticks + 1 if self.at_rest() else 0
            if self.stories_left:
                give_up_at = self.scheduler.clock + REST_WITHIN
        self.came_to_rest = self.at_rest()

    def at_rest(self) -> bool:
        """Whether nothing is under way, nothing is owed, and what ECS shows was seen and shown."""
        under_way = (
            self.stories_left
            + len(self.queue.waiting)
            + len(self.scheduler.running)
            + self.account.on_its_way
            + self.slack.on_its_way
        )
        within = HOUR + SEEN_WITHIN if self.scenario.census_finds else SEEN_WITHIN
        seen = self.scheduler.clock >= self.settled_at + within
        return seen and not under_way and not any(self.owed()) and not self._is_held_back()

    def owed(self) -> Iterator[dict[str, Any]]:
        """The rows that say that something is to be told now, or was tried in vain.

        An open service's counts reach the root every few minutes, for ever.
        """
        now = self.scheduler.now()
        for row in self.table.rows("channel#"):
            if row["sk"]["S"].startswith("owes#"):
                in_vain = "attempt" in row or int(row.get("tries", {"N": "0"})["N"])
                if in_vain or datetime.fromisoformat(row["due_at"]["S"]) <= now:
                    yield dict(row)

    def _is_held_back(self) -> bool:
        """Whether a service is well, and is not said to be so yet."""
        well = {one.name for one in self.account.services.values() if one.is_well}
        for row in self.table.rows("cluster#"):
            if "due" in row and row["sk"]["S"].removeprefix("service#") in well:
                return True
        return False

    def _begin(self, cast: Cast) -> None:
        service = self.account.service(cast.cluster, cast.service)
        steps = cast.story(service, self.rng)
        self.stories_left += 1

        def step() -> None:
            wait = next(steps, None)
            if wait is None:
                service.truth.settled_at = self.settled_at = self.scheduler.clock
                self.stories_left -= 1
            else:
                self.scheduler.after(wait, step)

        self.scheduler.after(cast.begins, step)

    # --- the functions ------------------------------------------------------------------------

    def _invoke_on_events(self, batch: list[Message], ended: Callable[[Any], None]) -> Process:
        event = {"Records": [message.record() for message in batch]}
        return self._start("on_events", FUNCTION_TIMEOUT, handler.on_events, event, ended)

    def _tick(self) -> None:
        self.scheduler.after(MINUTE, self._tick)
        self._start("on_tick", TICK_TIMEOUT, handler.on_tick, {}, lambda _result: None)

    def _start(
        self,
        name: str,
        limit: float,
        function: Callable[[Any, Any], Any],
        event: Any,
        ended: Callable[[Any], None],
    ) -> Process:
        """Run a function in an environment that is warm, or in a new one."""
        number = self.invoked[name] = self.invoked.get(name, 0) + 1
        warm = self._warm[name]

        def run(process: Process) -> Any:
            self._programs[process.name] = program = warm.pop() if warm else Program(self._settings)
            context = _Context(self.scheduler.invocation(process), process.name)
            result = function(event, context)
            warm.append(program)
            return result

        return self.scheduler.start(f"{name[3:]}-{number}", limit, run, ended)

    @property
    def _settings(self) -> Settings:
        return Settings(
            table_name=self.table.name,
            channels=self.scenario.channels,
            slack_token_name="token",
            slack_webhook_name="webhook",
            stack_name="ecs-watch",
        )

    @contextmanager
    def _wired(self) -> Iterator[None]:
        doors: dict[str, Any] = {
            "Store": partial(self.store, sleep=self._pause),
            "_dynamodb": lambda: self.dynamodb,
            "_ecs": lambda: self.ecs,
            "_beside_ecs": lambda _service, _region: self.ecs,
            "_at_once": self.ecs.at_once,
            "_monotonic": lambda: self.scheduler.clock,
        }
        ways: dict[str, Any] = {
            "Slack": lambda **_: self.slack,
            "Webhook": lambda **_: Webhook(self.slack, "C0SHOP"),
        }
        entry: dict[str, Any] = {
            "_program": lambda: self._programs[self.scheduler.current],
            "_invocation": lambda context: context.run,
            "_emit": self._count,
        }
        # Most rows are read again and again: reading them once makes a history twice as fast.
        reads = patch.object(notifier.store, "from_json", _read_once)
        slack = patch.multiple(notifier.slack, **ways)
        with patch.multiple(wiring, **doors), slack, patch.multiple(handler, **entry), reads:
            yield

    @property
    def nobody(self) -> Process:
        """A function with all the time in the world, for what is measured beside a history."""
        return Process("nobody", 10 * DAY, self.scheduler.clock, lambda _result: None)

    def _pause(self, seconds: float) -> None:
        self.scheduler.effect("pause", lambda: None, seconds)

    def _count(self, run: Invocation) -> None:
        self.tally.update(run.tally)

    def sane_store(self) -> Store:
        """The table as it is, read and written beside the history."""
        client = dynamodb.Client(self.table, Scheduler(self.rng), Dice(CALM, self.rng))
        client._tokens = self.dynamodb._tokens  # or the table takes one's writes for the other's
        return Store(self.table.name, lambda: client)  # type: ignore[arg-type, return-value]

    # --- what befalls them --------------------------------------------------------------------

    def _killed(self, _effect: int, _after: bool) -> bool:
        return self.dice.falls("killed")

    def _stalled(self) -> float:
        if not self.dice.falls("stalled"):
            return 0.0
        self.stalls += 1
        return self.rng.choice([self.rng.uniform(1, 25), self.rng.uniform(25, 120)])

    @property
    def excused(self) -> int:
        """How often the program may tell something twice.

        Where it may look for what it posted, and finds it, never; but who stands still between its
        lease and Slack may come after another, and so may what Slack commits much later.
        """
        return self.stalls + self.slack.very_late + (self.doubts if self.slack.unreadable else 0)

    @property
    def doubts(self) -> int:
        """How often the program could not know whether Slack has what it sent."""
        return (
            len(self.slack.doubts)
            + len(self.dynamodb.doubts)
            + len(self.scheduler.killed)
            + self.stalls
        )


_read_once = lru_cache(10_000)(from_json)


class _Alarms(logging.Handler):
    """Keeps the program's error lines instead of writing them."""

    def __init__(self, history: History) -> None:
        super().__init__(logging.ERROR)
        self.history = history

    def emit(self, record: logging.LogRecord) -> None:
        told = getattr(record, "told", {})
        why = repr(record.exc_info[1]) if record.exc_info else ""
        self.history.alarms.append(Alarm(self.history.scheduler.clock, record.msg, told, why))
        self.history.scheduler.note(f"ERROR {record.msg} {why}")


@contextmanager
def _alarms(history: History) -> Iterator[None]:
    """Only errors are logged while a history runs, and only to it."""
    logger, listener = logging.getLogger("notifier"), _Alarms(history)
    disabled, propagates = logging.root.manager.disable, logger.propagate
    logging.disable(logging.WARNING)
    logger.propagate = False
    logger.addHandler(listener)
    try:
        yield
    finally:
        logger.removeHandler(listener)
        logger.propagate = propagates
        logging.disable(disabled)
