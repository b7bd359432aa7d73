"""Which stories under which faults. Each name can be given to `python -m tests.simulator`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from unittest.mock import patch

from notifier import teller
from notifier.model import Message, Refusal, Refused, Unknown
from tests.simulator.faults import Faults
from tests.simulator.history import HOURLY, Cast, History, Scenario
from tests.simulator.scheduler import DAY, HOUR, MINUTE, Killed
from tests.simulator.scripts import HEALTHY, TROUBLE, Story

CLUSTERS = ("prod-web", "prod-data", "staging")
# No name is a part of another, nor of a word in a message: the checker looks for them there.
SERVICES = (
    *("checkout", "search", "basket", "ledger", "mailer", "quotes"),
    *("vision", "parser", "uploads", "billing", "invoices", "geocoder"),
)

TROUBLES: Sequence[Story] = tuple(TROUBLE.values())
HEALTHIES: Sequence[Story] = tuple(HEALTHY.values())


def some_services(rng: Random) -> list[Cast]:
    """One to five services of up to three clusters get into trouble, nearly at once."""
    names = rng.sample(SERVICES, rng.randint(1, 5))
    clusters = rng.sample(CLUSTERS, rng.randint(1, 3))
    return [
        Cast(rng.choice(clusters), name, rng.choice(TROUBLES), rng.uniform(0, 120))
        for name in names
    ]


def one_cluster_in_bursts(rng: Random) -> list[Cast]:
    """Many services of one cluster change their cause at the same moments."""
    return [
        Cast("prod-web", name, TROUBLE["fails_in_many_ways"]) for name in rng.sample(SERVICES, 4)
    ]


def one_cluster_at_once(rng: Random) -> list[Cast]:
    """Eight services of one cluster fail one after another, too seldom to be waited for."""
    story = TROUBLE["stays_down"]
    return [
        Cast("prod-web", name, story, 22.0 * n + rng.uniform(0, 8))
        for n, name in enumerate(rng.sample(SERVICES, 8))
    ]


def outage(_rng: Random) -> list[Cast]:
    """Every service of a cluster fails in the same seconds."""
    return [Cast("prod-web", name, TROUBLE["no_capacity"]) for name in SERVICES]


def healthy_day(rng: Random) -> list[Cast]:
    """Every service has a few uneventful hours."""
    return [
        Cast(rng.choice(CLUSTERS), name, rng.choice(HEALTHIES), rng.uniform(0, 3600))
        for name in rng.sample(SERVICES, 4)
    ]


def only(name: str) -> Callable[[Random], list[Cast]]:
    """One service with this story."""
    return lambda _rng: [Cast("prod-web", "checkout", {**TROUBLE, **HEALTHY}[name])]


def many_clusters(rng: Random) -> list[Cast]:
    """Thirty clusters whose roots change all the time."""
    story = TROUBLE["fails_in_many_ways"]
    return [Cast(f"team-{n:02}", f"service-{n:02}", story, rng.uniform(0, 5)) for n in range(30)]


def busy_clusters(rng: Random) -> list[Cast]:
    """Forty clusters in which another of six services fails every twenty seconds."""
    story = TROUBLE["stays_down"]
    return [
        Cast(f"team-{n:02}", f"job-{n:02}-{one}", story, 20.0 * one + rng.uniform(0, 20))
        for n in range(40)
        for one in range(6)
    ]


# --- a cluster whose messages cannot be made ------------------------------------------------------

BAD = "prod-data"
ON_TIME = 3 * MINUTE  # a function that hangs holds its channel for a minute, the tick for another


def one_bad_cluster(rng: Random) -> list[Cast]:
    """A service of the bad cluster fails, and soon one of each of three others."""
    first, *others = rng.sample(SERVICES, 4)
    story = TROUBLE["stays_down"]
    good = zip(("prod-web", "staging", "prod-jobs"), others, strict=True)
    return [
        Cast(BAD, first, story, rng.uniform(0, MINUTE)),
        *(Cast(cluster, name, story, rng.uniform(0, 10 * MINUTE)) for cluster, name in good),
    ]


def bad_thread(how: str) -> Scenario:
    """Making the bad cluster's messages raises, hangs until the function's end, or kills it."""

    @contextmanager
    def bad(history: History) -> Iterator[None]:
        names = ("root_message", "reply_message")
        makers: dict[str, Any] = {
            name: _broken(getattr(teller, name), history, how) for name in names
        }
        with patch.multiple(teller, **makers):
            yield

    on_time = ON_TIME if how in ("hangs", "kills") else MINUTE / 2
    return Scenario(
        f"bad-thread-{how}", one_bad_cluster, around=bad, told_within=on_time, bad_cluster=BAD
    )


def _broken(make: Callable[..., Message], history: History, how: str) -> Callable[..., Message]:
    def broken(telling: Any, *rest: Any) -> Message:
        if not telling.cluster.key.endswith(BAD):
            return make(telling, *rest)
        if how == "hangs":
            history.scheduler.stand_still()
        if how == "kills":
            history.scheduler.doom()
            raise Killed
        raise RuntimeError("bad")

    return broken


# --- what befalls Slack -------------------------------------------------------------------------


def down_for(seconds: float) -> Callable[[History], None]:
    """Slack is gone from the first moment on."""
    return lambda history: history.slack.refuse_between(0.0, seconds, DOWN)


def _for_a_while(
    *outcomes: Refused | Unknown, lasts: float = 20 * MINUTE
) -> Callable[[History], None]:
    """One of these from some moment on, for at most so long."""

    def arrange(history: History) -> None:
        start = history.rng.uniform(0, 2 * MINUTE)
        end = start + history.rng.uniform(lasts / 10, lasts)
        history.slack.refuse_between(start, end, history.rng.choice(outcomes))

    return arrange


def _deletions(history: History) -> None:
    """Somebody tidies the channel up."""

    def delete() -> None:
        if history.dice.on and (visible := list(history.slack.visible())):
            history.slack.delete(history.rng.choice(visible))

    for _ in range(3):
        history.scheduler.after(history.rng.uniform(0, 15 * MINUTE), delete)


def _gone(history: History) -> None:
    """One of two channels is archived, for longer than anything takes."""
    history.slack.refuse_between(0.0, 2 * HOUR, ARCHIVED, channel="C0PROD")


ARCHIVED = Refused(Refusal.CHANNEL, "is_archived")
REVOKED = Refused(Refusal.CREDENTIALS, "token_revoked")
DOWN = Unknown("http_503")
LIMITED = Refused(Refusal.RATE_LIMITED, "ratelimited", timedelta(seconds=30))


# --- the list -----------------------------------------------------------------------------------

_TABLE = Scenario("table", some_services)
_SLACK = Scenario("slack", some_services)

FOUR_CHANNELS = "team-0*=C0DATA; team-1*=C0WEB; team-2*=C0JOBS; *=C0SHOP"

_QUICK = Scenario("quick", many_clusters, table_answers_in=0.002, slack_answers_in=0.02)

UNAMBIGUOUS = (
    Scenario("calm", some_services),
    Scenario("bursts", one_cluster_in_bursts),
    Scenario("outage", outage),
    replace(_SLACK, name="limited", faults=Faults(slack_limited=0.3)),
    replace(_SLACK, name="unavailable", faults=Faults(slack_unavailable=0.3)),
    replace(_SLACK, name="payload-refused", faults=Faults(slack_payload_refused=0.2)),
    replace(_SLACK, name="never-arrived", faults=Faults(slack_lost=0.3)),
    replace(_SLACK, name="archived", arrange=_for_a_while(ARCHIVED)),
    replace(_SLACK, name="revoked", arrange=_for_a_while(REVOKED)),
    replace(_SLACK, name="slack-down", arrange=_for_a_while(DOWN)),
    replace(_SLACK, name="limited-for-long", arrange=_for_a_while(LIMITED)),
    replace(_SLACK, name="deletions", arrange=_deletions),
    replace(_TABLE, name="conflicts", faults=Faults(table_conflict=0.2)),
    Scenario("table-down", outage, Faults(table_unreachable=1.0), faults_for=10 * MINUTE),
    replace(_TABLE, name="slow-table", faults=Faults(table_slow=0.3, table_answer_lost=0.05)),
    replace(_TABLE, name="late-index", faults=Faults(index_lag=20.0)),
    Scenario("ecs-fails", some_services, Faults(ecs_throttled=0.3, ecs_slow=0.3, ecs_stale=0.3)),
    Scenario("twice-and-late", some_services, Faults(event_twice=0.4, event_delayed=0.3)),
    Scenario("queue-repeats", some_services, Faults(message_twice=0.4)),
    Scenario("events-lost", some_services, Faults(event_lost=0.5), census=HOURLY),
    Scenario("first-census", some_services, census=None),
    Scenario("two-channels", some_services, channels="prod-data=C0DATA; *=C0SHOP"),
    Scenario(
        "archived-elsewhere", some_services, channels="prod-*=C0PROD; *=C0SHOP", arrange=_gone
    ),
    Scenario("webhook", some_services, channels="*=webhook"),
    Scenario("slow-bursts", one_cluster_at_once, Faults(table_slow=0.2), told_within=90.0),
    replace(_QUICK, name="many-clusters"),
    replace(_QUICK, name="busy-clusters", cast=busy_clusters, channels=FOUR_CHANNELS),
    *(bad_thread(how) for how in ("raises", "hangs", "kills")),
)

AMBIGUOUS = (
    replace(_SLACK, name="answer-lost", faults=Faults(slack_answer_lost=0.3)),
    replace(_SLACK, name="late", faults=Faults(slack_late=0.3)),
    replace(_SLACK, name="unreadable", faults=Faults(slack_answer_lost=0.2), may_read=False),
    replace(_SLACK, name="very-late", faults=Faults(slack_very_late=0.3)),
    replace(_TABLE, name="throttled", faults=Faults(table_throttled=0.4)),
    replace(_TABLE, name="table-gone", faults=Faults(table_unreachable=0.1, table_given_up=0.05)),
    Scenario("killed", some_services, Faults(killed=0.02)),
    Scenario("stalled", some_services, Faults(stalled=0.02)),
    Scenario("stalled-bursts", one_cluster_in_bursts, Faults(stalled=0.06)),
    Scenario(
        "storm",
        some_services,
        Faults(
            table_throttled=0.1,
            table_answer_lost=0.05,
            table_given_up=0.02,
            table_conflict=0.1,
            table_slow=0.05,
            index_lag=3.0,
            slack_limited=0.05,
            slack_unavailable=0.05,
            slack_lost=0.05,
            slack_answer_lost=0.05,
            slack_late=0.05,
            slack_very_late=0.02,
            ecs_throttled=0.1,
            ecs_slow=0.1,
            ecs_stale=0.2,
            event_twice=0.2,
            event_delayed=0.2,
            message_twice=0.2,
            killed=0.01,
            stalled=0.01,
        ),
    ),
)

HEALTHY_DAYS = (
    Scenario("healthy", healthy_day, silent=True),
    Scenario("healthy-storm", healthy_day, AMBIGUOUS[-1].faults, silent=True),
)


def by_name(scenarios: Iterable[Scenario]) -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in scenarios}


LONG = (Scenario("slack-down-for-a-week", some_services, arrange=down_for(7 * DAY)),)

SCENARIOS = by_name((*UNAMBIGUOUS, *AMBIGUOUS, *HEALTHY_DAYS, *LONG))
SCENARIOS |= by_name(
    replace(Scenario(name.replace("_", "-"), only(name)), silent=name in HEALTHY)
    for name in (*TROUBLE, *HEALTHY)
)
