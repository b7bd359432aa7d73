"""Foreign texts that would ring people or hide where a link leads, in every message we send.

Whoever names a service, writes an image's reason, a log line or a session's name decides what
stands in our messages. Each text is put into each foreign field by itself, each kind of message is
rendered, and what Slack would make live of it is counted, beyond what is live with a calm text.
Formatting alone (`*bold*`) is not counted, nor an address that shows where it leads.
https://docs.slack.dev/messaging/formatting-message-text/
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from notifier.cli.mrkdwn import Reader, mrkdwn_html
from notifier.facts import Actor, Confidence, Container, Diagnosis, Explanation, LogTail, Missing
from notifier.model import (
    Census,
    ClusterState,
    Failure,
    Impact,
    KnownDeployment,
    Message,
    Phase,
    Reason,
    ServiceState,
    Transition,
)
from notifier.rendering import Telling, plain, reply_message, root_message, summary_message
from tests.watch import CLUSTER, START, deployment_row, reading

TEXTS = (
    "<!channel>",
    "<!here|here>",
    "<!everyone>",
    "<!subteam^S0123456789>",
    "<@U123>",
    "<#C0123456789|general>",
    "<https://evil.example/login|AWS Console>",
    "<mailto:root@evil.example|mail>",
    "<!date^1392734382^{date}^https://evil.example|soon>",
    "@here @channel @everyone",
    "&lt;!channel&gt; &amp;lt;!here&amp;gt;",
    "<\u200b!channel> <\u202e@U123> <!\u2060here>",
    "`<!channel>` ```<@U123>```",
    "`*_~ <!here> ~_*`",
    "a\n<!channel>\n> <@U123>\n*bold*",
    "*bold* <@U123|*bold*>",
    "|label> <!channel> <https://evil.example|",
    '"}]}, {"type": "section", "text": {"type": "mrkdwn", "text": "<!channel>"}}',
    "{{ '<!channel>' | safe }} {% raw %}<!here>{% endraw %}",
    "\x00<!channel>\x1b[31m<@U123>",
    "]]> <script><!channel></script>",
    "x" * 240 + "<!channel>" + "&" * 400 + "<@U123>",
)
FIELDS = (
    "service",
    "cluster",
    "account",
    "region",
    "account alias",
    "event",
    "reason",
    "revision",
    "row's status",
    "row's state",
    "cause",
    "evidence",
    "remedy",
    "page",
    "change",
    "tasks",
    "circuit breaker",
    "message",
    "container",
    "container's reason",
    "actor",
    "actor's tool",
    "actor's run",
    "missing",
    "missing why",
    "missing action",
    "log group",
    "log stream",
    "log region",
    "log line",
    "log's container",
    "trouble",
)
CALM = "calm"
SLACK_ID = "U0MIKA00001"

Live = Counter[str]


def figures(texts: Sequence[str] = TEXTS) -> tuple[int, int]:
    """How much was live of these texts, and in how many messages that was tried."""
    calm = [live(told) for told in every_message({})]
    found = tried = 0
    for text in texts:
        for name in FIELDS:
            for told, usual in zip(every_message({name: text}), calm, strict=True):
                found += (live(told) - usual).total()
                tried += 1
    return found, tried


# --- what Slack would make live -----------------------------------------------------------------

# A date of our own; with more or fewer links there is one more or less of them.
_OUR_DATE = re.compile(r"<!date\^\d+\^\{date_short_pretty\} at \{time\}\|[-\d: ]+ UTC>")
_LIVE = re.compile(r'<span class="(mention \w+)"|<(a|time) ')


def live(message: Message) -> Live:
    """Mentions, links with a label and dates, by kind, in all texts that Slack reads."""
    html = [_html(message.text, verbatim=True, names=False)]
    html += [
        _html(text["text"], verbatim=bool(text.get("verbatim"))) for text in _texts(message.blocks)
    ]
    kinds = (found[1] or found[2] for one in html for found in _LIVE.finditer(one))
    return Counter([*kinds, *_live_elements(message.blocks)])


def _html(text: str, **how: bool) -> str:
    return mrkdwn_html(_OUR_DATE.sub("", text), Reader(), **how)


def _texts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every `mrkdwn` object, wherever in the blocks it is."""
    if isinstance(value, Mapping):
        if value.get("type") == "mrkdwn":
            yield value
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _live_elements(blocks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What rich text has besides text: a user, a link, a broadcast."""
    parts = [part for one in blocks if one["type"] == "rich_text" for part in one["elements"]]
    yield from (
        element["type"]
        for part in parts
        for element in part["elements"]
        if element["type"] != "text"
    )


# --- every kind of message, with a text in a field ----------------------------------------------


def every_message(given: Mapping[str, str]) -> list[Message]:
    """One message of each kind, and each as bare text; what is not given is calm."""
    field = {name: given.get(name, CALM) for name in FIELDS}
    if "cluster" not in given:
        field["cluster"] = CLUSTER
    told = [*_of_cluster(field), _summary(field)]
    return [*told, *map(plain, told)]


def _of_cluster(field: Mapping[str, str]) -> Iterator[Message]:
    bad = _failing(field)
    ends = [_over(bad, phase) for phase in (Phase.RECOVERED, Phase.NOT_LIVE, Phase.GONE)]
    known_now = replace(bad, transitions=_news(Reason.DEPLOYER_KNOWN))
    telling = _telling(field, bad)
    flat = replace(telling, is_flat=True, instead_of=field["trouble"])
    is_over = replace(telling, cluster=replace(telling.cluster, open_services=0, closed_at=START))
    others = [replace(bad, name=f"{number}{bad.name}") for number in range(9)]
    yield root_message(telling, [bad])
    yield root_message(telling, [bad, *ends, *others], previous="https://slack.example/p1")
    yield root_message(is_over, ends)
    yield reply_message(telling, [bad], "C01")
    yield reply_message(flat, [bad], "C01")
    yield reply_message(telling, [replace(bad, explanation=None)], "C01")
    known_of_others = [
        replace(one, transitions=_news(Reason.DEPLOYER_KNOWN), explanation=_shipped_by(n, field))
        for n, one in enumerate(others)
    ]
    yield reply_message(telling, [known_now], "C01")
    yield reply_message(telling, [known_now] * 4, "C01")
    yield reply_message(telling, [known_now, *known_of_others], "C01")
    yield reply_message(telling, [*others, *known_of_others], "C01")
    yield from (reply_message(telling, [one], "C01") for one in ends)
    yield reply_message(telling, [bad, *ends], "C01")
    yield reply_message(telling, others, "C01")
    yield reply_message(is_over, ends, "C01")


def _summary(field: Mapping[str, str]) -> Message:
    lines = tuple(f"{field['cluster']} / {field['service']}: {field['trouble']}" for _ in range(9))
    return summary_message(Census(started_at=START, watched=3, trouble={"C01": lines}), "C01")


def _telling(field: Mapping[str, str], bad: ServiceState) -> Telling:
    cluster = ClusterState(
        key=field["cluster"],
        account=field["account"],
        region=field["region"],
        partition="aws",
        generation=1,
        open_services=1,
        opened_at=START,
    )
    tail = LogTail(
        container=field["log's container"],
        group=field["log group"],
        stream=field["log stream"],
        region=field["log region"],
        lines=(field["log line"], f"ERROR {field['log line']}"),
    )
    return Telling(
        cluster=cluster,
        now=START + timedelta(minutes=5),
        mentions=("here", "S0123456789"),
        missing=(field["missing"],),
        logs={bad.key: tail},
        alias=field["account alias"],
    )


def _failing(field: Mapping[str, str]) -> ServiceState:
    row = deployment_row(
        43,
        running=1,
        task_definition=field["revision"],
        rollout_state=field["row's state"],
        status=field["row's status"],
    )
    cause = Failure(
        event=field["event"],
        reason=field["reason"],
        deployment_id="ecs-svc/43",
        occurred_at=START,
    )
    known = KnownDeployment(
        id="ecs-svc/43", updated_at=START, failed_at=START, revision=field["revision"]
    )
    return ServiceState(
        name=field["service"],
        phase=Phase.FAILING,
        impact=Impact.REDUCED,
        causes=(cause,),
        deployments=(known,),
        count=2,
        since=START,
        revision=1,
        generation=1,
        destination="C01",
        reading=reading(field["service"], running=1, desired=2, rows=[row] * 3),
        transitions=_news(Reason.NEWLY_FAILING),
        explanation=_explanation(field),
    )


def _explanation(field: Mapping[str, str]) -> Explanation:
    return Explanation(
        service=field["service"],
        read_at=START,
        diagnosis=Diagnosis(
            cause=field["cause"],
            evidence=field["evidence"],
            remedy=field["remedy"],
            page=field["page"],
            confidence=Confidence.LIKELY,
        ),
        deployment_id="ecs-svc/43",
        changes=(field["change"], f"+ env {field['change']}"),
        tasks=field["tasks"],
        task=f"{CLUSTER.replace(':cluster/', ':task/')}/1",
        containers=(Container(name=field["container"], reason=field["container's reason"]),),
        circuit_breaker=field["circuit breaker"],
        messages=(field["message"],),
        actor=Actor(
            name=field["actor"],
            via=field["actor's tool"],
            url=field["actor's run"],
            is_certain=True,
            slack_id=SLACK_ID,
        ),
        log_group=field["log group"],
        log_stream=field["log stream"],
        log_region=field["log region"],
        missing=(
            Missing(what=field["missing"], why=field["missing why"]),
            Missing(what="tasks", why="no permission", action=field["missing action"]),
        ),
    )


def _shipped_by(number: int, field: Mapping[str, str]) -> Explanation:
    who = Actor(name=f"{field['actor']} {number % 3}", url=field["actor's run"] + str(number))
    return replace(_explanation(field), actor=who)


def _over(bad: ServiceState, phase: Phase) -> ServiceState:
    return replace(
        bad,
        phase=phase,
        not_live=(bad.deployments[0].revision,) if phase is Phase.NOT_LIVE else (),
        changed_at=START,
        transitions=_news(Reason.OVER_BEFORE_TOLD),
    )


def _news(reason: Reason) -> tuple[Transition, ...]:
    return (Transition(revision=1, reason=reason, at=START),)
