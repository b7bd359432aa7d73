"""Every story is whole, shaped as AWS shapes things, and can be told."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from notifier.cli.text import message_text
from notifier.events import parse
from notifier.model import ApiCall
from sandbox import stories
from sandbox.ecs_double import on_the_wire
from sandbox.running import Sandbox
from sandbox.story import STORIES, Step, Story, StoryError, load_story, play, story_names
from sandbox.workspace.team import PEOPLE
from tests.sandbox.failures import thread_of

EVENTS = STORIES.parent
START = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)

SHAPES = {
    "clusters": ("ecs", "Cluster"),
    "services": ("ecs", "Service"),
    "tasks": ("ecs", "Task"),
    "taskDefinitions": ("ecs", "TaskDefinition"),
    "serviceDeployments": ("ecs", "ServiceDeployment"),
    "serviceRevisions": ("ecs", "ServiceRevision"),
    "cloudTrailEvents": ("cloudtrail", "Event"),
    "logStreams": ("logs", "GetLogEventsResponse"),
}
ANSWERED = ".detail.responseElements.service."
NAMES_OF_A_LOG = ("arn", "logGroupName", "logStreamName")


def smallest(**changes: Any) -> dict[str, Any]:
    step = {"at": 0, "origin": "built", "note": "n", "tick": True, **changes}
    return {"title": "t", "teaches": "t", "cluster": "c", "services": [], "steps": [step]}


@dataclass(frozen=True)
class Ending:
    """How the only thread of a story stands in the end, and what its first reply explains.

    `explains` are words of the diagnosis, the changes, the tasks and the deployments, one or more
    lines of each; `who` shipped it, and has `run` and is mentioned, if anybody is known.
    """

    sign: str
    says: str
    replies: int
    explains: tuple[str, ...]
    who: str = ""
    run: str = ""


NO_CAPACITY = (
    "no Fargate capacity",
    "no deployment since",
    "Capacity is unavailable at this time",
)
BREAKER = "circuit breaker 3 of 3"
IDS = {name: user for user, name in PEOPLE.items()}

ENDINGS = {
    "release-fails-and-is-rolled-back": Ending(
        "☑️",
        ":42 was rolled back, it never went live",
        2,
        (
            "2 of 2 running on :41",
            "container app exited with code 1: the program failed",
            "Read the container's log.",
            "app image v1.8.2 → v1.8.3",
            "+ env FEATURE_X",
            "3 of 3 exited 1",
            BREAKER,
            "app exit code 1",
            "PRIMARY :41 2 0 2 0 IN_PROGRESS",
            "ACTIVE :42 0 0 0 3 FAILED",
            "KeyError: 'PRICES_URL'",
        ),
        who="mika via GitHub Actions",
        run="https://github.com/octo-org/checkout/actions/runs/7214583021",
    ),
    "health-checks-fail": Ending(
        "☑️",
        ":58 was rolled back, it never went live",
        2,
        (
            "2 of 2 running on :57",
            "load balancer health checks fail: HTTP 502",
            "Read the log of the container that answers them.",
            "app image 2026.11.1 → 2026.11.2",
            "memory 1024 → 512 MiB",
            "3 of 3 failed load balancer health checks",
            BREAKER,
            "app exit code 143",
            "Health checks failed with these codes: [502]",
            "ACTIVE :58 0 0 0 3 FAILED",
            "ERROR GET /health 502",
        ),
        who="robin via GitLab CI",
        run="https://gitlab.com/octo-org/orders/-/pipelines/1188543021",
    ),
    "causes-cannot-be-read": Ending(
        "☑️",
        ":9 was rolled back, it never went live",
        3,
        (
            "2 of 2 running on :8",
            "the circuit breaker stopped the deployment",
            "task definition :8 → :9",
            BREAKER,
            "could not be read: stopped tasks (no permission: ecs:ListTasks), task definitions"
            " (no permission: ecs:DescribeTaskDefinition)",
            "ACTIVE :9 0 0 0 3 FAILED",
        ),
    ),
    "image-cannot-be-pulled": Ending(
        "✅",
        "3 of 3 running on :20",
        2,
        (
            "3 of 3 running on :18",
            "image not found: shop/search:v3.4.1",
            "Push the tag, or correct the image",
            "Without a circuit breaker ECS will retry for ever.",
            "app image v3.4.0 → v3.4.1",
            "3 of 3 never started",
            "app never ran",
            "ECS itself reports no failure: ecs-watch counted the tasks that died",
            "CannotPullContainerError",
            "PRIMARY :19 3 3 0 3 IN_PROGRESS",
        ),
        who="mika via GitHub Actions",
        run="https://github.com/octo-org/search/actions/runs/7214583021",
    ),
    "crash-loop-without-circuit-breaker": Ending(
        "✅",
        "3 of 3 running on :8",
        2,
        (
            "1 of 3 running",
            "out of memory",
            "ECS itself reports no failure: ecs-watch counted the tasks that died",
            "Without a circuit breaker ECS will retry for ever.",
            "no deployment since",
            "OutOfMemoryError",
            "PRIMARY :7 3 2 1 0 COMPLETED",
        ),
    ),
    "crash-loop-that-looks-well": Ending(
        "✅",
        "1 of 1 running on :13",
        2,
        (
            "0 of 1 running",
            "no network connection to where the secrets are",
            "also container app exited with code 1: the program failed (1 task)",
            "Without a circuit breaker ECS will retry for ever.",
            "no deployment since",
            "2 never started, 1 exited 1",
            "app never ran",
            "PRIMARY :12 1 1 0 0 COMPLETED",
            "FATAL giving up",
        ),
    ),
    "no-capacity": Ending(
        "✅",
        "4 of 4 running on :23",
        2,
        (
            *NO_CAPACITY,
            "2 of 4 running on :23",
            "also AWS took back Spot capacity (2 tasks)",
            "2 of 2 lost Spot capacity",
            "PRIMARY :23 4 0 2 0 COMPLETED",
        ),
    ),
    # Fewer than services, however many batches a busy machine makes of the events.
    "outage-of-twelve-services": Ending(
        "✅", "*12 services* · recovered", 11, (*NO_CAPACITY, "1 of 4 running on :30")
    ),
    "slack-is-down": Ending(
        "✅", "2 of 2 running on :50", 3, (*NO_CAPACITY, "1 of 2 running on :50")
    ),
}
# Each of these has a test of its own below.
MORE_IS_TOLD = {
    "release-fails-and-is-rolled-back",
    "causes-cannot-be-read",
    "crash-loop-that-looks-well",
    "slack-is-down",
}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", sorted(ENDINGS.keys() - MORE_IS_TOLD))
def test_a_story_is_one_thread_that_says_why_and_who_and_how_it_ended(
    name: str, sandbox: Sandbox
) -> None:
    story = load_story(name)

    play(story, sandbox, sandbox.now())

    ends(story, sandbox)


@pytest.mark.sandbox
def test_a_roll_back_is_never_called_recovered(sandbox: Sandbox) -> None:
    story = load_story("release-fails-and-is-rolled-back")

    play(story, sandbox, sandbox.now())

    ends(story, sandbox)
    assert "✅" not in everything_told(sandbox)
    assert "recovered" not in everything_told(sandbox)


@pytest.mark.sandbox
def test_no_all_clear_comes_between_two_deaths(sandbox: Sandbox) -> None:
    story = load_story("crash-loop-that-looks-well")
    told_by: dict[str, str] = {}

    play(story, sandbox, sandbox.now(), told=noting(told_by, sandbox))

    assert "exports" in told_by["mika deploys :13, which does not die"]
    assert "✅" not in told_by["mika deploys :13, which does not die"]
    ends(story, sandbox)


@pytest.mark.sandbox
def test_when_slack_works_again_what_is_true_then_is_told(sandbox: Sandbox) -> None:
    story = load_story("slack-is-down")
    told_by: dict[str, str] = {}

    play(story, sandbox, sandbox.now(), told=noting(told_by, sandbox))

    assert "mailer" not in told_by["Slack works again"]
    root, _ = thread_of(sandbox, story.cluster)
    first = message_text(root["versions"][0])
    assert "mailer failing" in first
    assert "*mailer*  1 of 2 running" in first
    assert "*payments*  3 of 3 running" in first
    ends(story, sandbox)


@pytest.mark.sandbox
def test_who_shipped_it_is_told_when_it_is_known_and_once(sandbox: Sandbox) -> None:
    story = load_story("causes-cannot-be-read")

    play(story, sandbox, sandbox.now())

    ends(story, sandbox)
    _, (_first, late, last) = thread_of(sandbox, story.cluster)
    assert "robin via GitLab CI" in message_text(late)
    assert "https://gitlab.com/octo-org/invoices/-/pipelines/1188543021" in json.dumps(late)
    assert f"<@{IDS['robin']}>" in json.dumps(late)
    assert "<@" not in json.dumps(last)


@pytest.mark.sandbox
def test_a_secret_in_a_log_is_not_told(sandbox: Sandbox) -> None:
    key, password = "AKIA" + "IOSFODNN7EXAMPLE", "tr0ub4dor" + "and3"
    line = f"ERROR no access with {key}, connecting to amqp://app:{password}@mq.internal failed"
    story = with_last_words(load_story("release-fails-and-is-rolled-back"), line)

    play(story, sandbox, sandbox.now())

    told = everything_told(sandbox)
    assert "mq.internal failed" in told
    assert [secret for secret in (key, password) if secret in told] == []


def with_last_words(story: Story, line: str) -> Story:
    """Return the story with this as the last line of each log."""

    def said(ecs: Mapping[str, Any]) -> dict[str, Any]:
        streams = [
            {**stream, "events": [*stream["events"], {"message": line}]}
            for stream in ecs.get("logStreams", [])
        ]
        return {**ecs, "logStreams": streams}

    steps = (replace(step, ecs=said(step.ecs)) if step.ecs else step for step in story.steps)
    return replace(story, steps=tuple(steps))


def ends(story: Story, sandbox: Sandbox) -> None:
    """Check how the channel stands: the summary of the first census, and one thread."""
    ending = ENDINGS[story.name]
    summary, *thread = sandbox.messages()
    assert "ecs-watch is here" in summary["text"]
    root, replies = thread_of(sandbox, story.cluster)
    assert [root, *replies] == thread
    assert root["text"].startswith(f"{ending.sign} {story.cluster}: over after")
    assert ending.says in message_text(root)
    assert len(replies) <= ending.replies
    told = " ".join(map(message_text, [root, *replies]))
    assert [service for service in story.services if service not in told] == []
    explains(replies[0], ending)


def explains(reply: Mapping[str, Any], ending: Ending) -> None:
    """Check what the first reply says of the failure, wherever in it that stands."""
    told = " ".join(message_text(reply).split())
    assert [words for words in ending.explains if words not in told] == [], told
    assert ending.who in told
    assert ending.run in json.dumps(reply)
    mentioned = [f"<@{IDS[ending.who.split()[0]]}>"] if ending.who else []
    assert re.findall("<@[^>]+>", message_source(reply)) == mentioned


def message_source(message: Mapping[str, Any]) -> str:
    """Return the mrkdwn of a message's blocks."""
    return json.dumps(message["blocks"], ensure_ascii=False)


def noting(told_by: dict[str, str], sandbox: Sandbox) -> Callable[[Sequence[Step]], object]:
    """Note all that Slack showed when each step, but for the ticks, was done the first time."""

    def note(steps: Sequence[Step]) -> None:
        told = everything_told(sandbox)
        for step in steps:
            if not step.tick:
                told_by.setdefault(step.note, told)

    return note


def everything_told(sandbox: Sandbox) -> str:
    """Return all texts that Slack ever showed, those that were edited away too."""
    versions = [
        content for message in sandbox.messages() for content in (message, *message["versions"])
    ]
    return " ".join(f"{content['text']} {message_text(content)}" for content in versions)


def test_the_stories_are_what_the_builder_writes() -> None:
    written = {path.stem: path.read_text() for path in STORIES.glob("*.json")}

    assert written == stories.texts()


def test_every_story_is_in_the_list_for_readers() -> None:
    readme = (STORIES / "README.md").read_text()

    assert [name for name in story_names() if f"`{name}`" not in readme] == []


@pytest.mark.parametrize("name", story_names())
def test_what_ecs_shows_in_a_story_is_shaped_as_aws_shapes_it(name: str) -> None:
    models = {
        service: botocore.session.get_session().get_service_model(service)
        for service in ("ecs", "cloudtrail", "logs")
    }
    for step in load_story(name).beginning(START):
        for collection, objects in (step.ecs or {}).items():
            service, shape = SHAPES[collection]
            is_log = collection == "logStreams"
            for shown in map(answered, objects) if is_log else objects:
                model = models[service].shape_for(shape)
                report = ParamValidator().validate(on_the_wire(shown), model)
                assert report.generate_report() == "", f"{name}: {collection}"
                assert unknown_fields(shown, model) == [], f"{name}: {collection}"


@pytest.mark.parametrize("name", story_names())
def test_how_run_task_is_answered_in_a_story_is_shaped_as_aws_shapes_it(name: str) -> None:
    shape = botocore.session.get_session().get_service_model("ecs").shape_for("RunTaskResponse")
    for step in load_story(name).beginning(START):
        for answer in (one for answers in (step.run_task or {}).values() for one in answers):
            report = ParamValidator().validate(on_the_wire(answer), shape)
            assert report.generate_report() == ""
            assert unknown_fields(answer, shape) == []


@pytest.mark.parametrize("name", story_names())
def test_an_event_of_a_story_has_the_envelope_of_eventbridge(name: str) -> None:
    events = [step.event for step in load_story(name).beginning(START) if step.event]

    assert events
    for event in events:
        assert event["source"] == "aws.ecs"
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event["id"])
        assert re.fullmatch(r"2026-11-02T1\d:\d\d:\d\dZ", event["time"])


@pytest.mark.parametrize("name", story_names())
def test_a_release_of_a_story_is_recorded_as_cloudtrail_records_it(name: str) -> None:
    """Field by field as the one in events/; of the service its answer may say more."""
    known = json.loads((EVENTS / "ct-update-service-github-actor-built.json").read_text())
    steps = load_story(name).beginning(START)
    records = [step.event for step in steps if step.event]

    for record in records:
        is_call = record["detail-type"] == known["detail-type"]
        if not is_call or record["detail"]["eventName"] == "RunTask":
            continue
        assert fields_of(known) <= fields_of(record)
        more = fields_of(record) - fields_of(known)
        assert all(field.startswith(ANSWERED) for field in more), more
        call = parse(json.dumps(record))
        assert isinstance(call, ApiCall)
        assert call.begins_deployment
        assert call.deployment_id is not None


def test_a_start_of_a_story_that_failed_is_recorded_as_cloudtrail_records_it() -> None:
    known = json.loads((EVENTS / "ct-runtask-failures-built.json").read_text())
    steps = load_story("scheduled-job-cannot-start").beginning(START)
    events = [step.event for step in steps if step.event]
    [record] = [one for one in events if one["detail-type"] == known["detail-type"]]

    missing = fields_of(known) - fields_of(record)
    assert missing == {".detail.responseElements.failures[].arn"}, "of Fargate there is none"


def test_times_count_from_the_storys_start() -> None:
    event = {"detail": {"createdAt": "{{+90.5}}", "text": "since {{-60}}"}}
    document = smallest(event=event)
    del document["steps"][0]["tick"]

    [step] = Story.parse("s", document).beginning(START)

    assert step.event == {
        "detail": {
            "createdAt": "2026-11-02T12:01:30.500Z",
            "text": "since 2026-11-02T11:59:00Z",
        }
    }


@pytest.mark.parametrize(
    ("offset", "words"), [(0, "Nov 2, 2026 12:00:00 PM"), (-43_190, "Nov 2, 2026 12:00:10 AM")]
)
def test_times_of_a_record_are_written_in_words(offset: int, words: str) -> None:
    document = smallest(event={"createdAt": f"{{{{{offset:+d} in words}}}}"})
    del document["steps"][0]["tick"]

    [step] = Story.parse("s", document).beginning(START)

    assert step.event == {"createdAt": words}


def test_a_story_can_be_set_in_another_cluster() -> None:
    story = load_story("no-capacity")

    text = repr(story.beginning(START, cluster="dev-7"))

    assert "cluster/dev-7" in text
    assert story.cluster not in text


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (smallest(ecs={}), "it must be one of"),
        (smallest(surprise=1), "unknown surprise"),
        (smallest() | {"steps": [{"at": 0, "note": "nothing"}]}, "it must be one of"),
        (smallest() | {"steps": [{"at": 0, "event": {}, "origin": "?"}]}, "origin must be"),
        (smallest() | {"steps": [{"at": 0, "slack": []}]}, "origin must be"),
        (smallest() | {"steps": [{"at": 9, "tick": True}, {"at": 0, "tick": True}]}, "order"),
    ],
)
def test_a_file_that_is_no_story_is_refused(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(StoryError, match=complaint):
        Story.parse("s", document)


def test_a_time_that_cannot_be_read_is_refused() -> None:
    story = Story.parse("s", smallest(note="{{soon}}"))

    with pytest.raises(StoryError, match="not a time"):
        story.beginning(START)


def test_a_story_nobody_wrote_is_answered_with_those_there_are() -> None:
    with pytest.raises(StoryError, match="no-capacity"):
        load_story("no-such-story")


def answered(stream: Mapping[str, Any]) -> dict[str, Any]:
    """Return what GetLogEvents answers of a log stream."""
    return {key: value for key, value in stream.items() if key not in NAMES_OF_A_LOG}


def fields_of(value: Any, path: str = "") -> set[str]:
    """Return the paths of all fields, those of a list's rows once."""
    if isinstance(value, Mapping):
        nested = [fields_of(inner, f"{path}.{key}") for key, inner in value.items()]
        return {path}.union(*nested)
    if isinstance(value, list):
        return {path}.union(*(fields_of(row, f"{path}[]") for row in value))
    return {path}


def unknown_fields(value: Any, shape: Any, path: str = "") -> list[str]:
    """Return the fields that AWS's model of the shape does not have."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        strange = [f"{path}.{key}" for key in value if key not in shape.members]
        known = (key for key in value if key in shape.members)
        nested = (unknown_fields(value[key], shape.members[key], f"{path}.{key}") for key in known)
        return strange + [field for fields in nested for field in fields]
    if shape.type_name == "list":
        found = (unknown_fields(item, shape.member, path) for item in value)
        return [field for fields in found for field in fields]
    return []
