"""What a reader is told of what changed between the release that fails and the one before."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.changes import LINES_AT_MOST, changes, deployed_at
from notifier.facts import (
    ContainerDefinition,
    Facts,
    Missing,
    ServiceDeployment,
    TaskDefinition,
)

GONE = "\N{MINUS SIGN}"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ARN = "arn:aws:ecs:eu-west-1:123456789012:task-definition/"
OLD, NEW = f"{ARN}web:42", f"{ARN}web:43"
A, B = f"sha256:3f2a41d0{'0' * 56}", f"sha256:9c1d22e7{'0' * 56}"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
APP = ContainerDefinition(name="app", image=f"{ECR}/shop/web:v1.8.2")
PROXY = ContainerDefinition(name="proxy", image="envoyproxy/envoy:v1.30")


def definition(*containers: ContainerDefinition, **fields: str) -> TaskDefinition:
    return TaskDefinition(arn=OLD, containers=containers, **fields)  # type: ignore[arg-type]


def facts(**fields: object) -> Facts:
    known = {"failing_revision": NEW, "serving_revision": OLD, "read_at": NOON, "service": "web"}
    return Facts(**(known | fields))  # type: ignore[arg-type]


def between(old: TaskDefinition, new: TaskDefinition, **fields: object) -> tuple[str, ...]:
    return changes(facts(serving=old, failing=new, **fields))


def of_app(**new: object) -> tuple[str, ...]:
    """What is told when fields of the only container change from what it has by itself."""
    return between(definition(APP), definition(replace(APP, **new)))  # type: ignore[arg-type]


def digests(serving: Mapping[str, str], failing: Mapping[str, str]) -> dict[str, object]:
    return {"serving_images": serving, "failing_images": failing}


# --- images -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("shop/web:v1.8.2", "shop/web:v1.8.3", "app image v1.8.2 → v1.8.3"),
        (f"{ECR}/shop/web:v1", f"{ECR}/shop/web:v2", "app image v1 → v2"),
        ("shop/web", "shop/web:v2", "app image latest → v2"),
        ("localhost:5000/web", "localhost:5000/web:v2", "app image latest → v2"),
        (f"shop/web@{A}", f"shop/web@{B}", "app image digest 3f2a41d0… → digest 9c1d22e7…"),
        (f"shop/web:v1@{A}", f"shop/web:v2@{B}", "app image v1 → v2"),
        ("shop/web:v1", "shop/api:v1", "app image shop/web:v1 → shop/api:v1"),
        ("web:v1", f"web2@{B}", "app image web:v1 → web2@9c1d22e7…"),
    ],
)
def test_of_an_image_the_reader_sees_what_differs(old: str, new: str, told: str) -> None:
    before, after = replace(APP, image=old), replace(APP, image=new)

    assert between(definition(before), definition(after)) == (told,)


def test_a_tag_that_was_moved_is_told_by_its_digests() -> None:
    latest = definition(replace(APP, image="shop/web:latest", cpu=1), cpu="256")
    moved = replace(latest, cpu="512")

    assert between(latest, moved, **digests({"app": A}, {"app": B})) == (
        "app: same tag latest, new image digest 3f2a41d0… → 9c1d22e7…",
        "task CPU 256 → 512",
    )


def test_a_new_tag_on_the_same_image_is_told_as_such() -> None:
    new = definition(replace(APP, image=f"{ECR}/shop/web:v1.8.3"))

    assert between(definition(APP), new, **digests({"app": A}, {"app": A})) == (
        "app image v1.8.2 → v1.8.3 (same digest 3f2a41d0…)",
    )


def test_a_digest_that_is_known_of_one_side_tells_nothing() -> None:
    assert between(definition(APP), definition(APP), **digests({}, {"app": B})) == (
        "task definition :42 → :43: nothing that we compare",
    )


# --- everything else of a task definition -----------------------------------------------------


@pytest.mark.parametrize(
    ("new", "told"),
    [
        ({"memory": 256}, ("memory none → 256 MiB",)),
        ({"memory_reservation": 128}, ("memory reservation none → 128 MiB",)),
        ({"cpu": 512}, ("CPU none → 512",)),
        ({"command": ("serve", "--fast")}, ("command added",)),
        ({"entry_point": ("sh",)}, ("entry point added",)),
        ({"ports": ("8080/tcp",)}, ("+ port 8080/tcp",)),
        ({"health_check": "CMD curl every 5 s"}, ("health check added",)),
        ({"is_essential": False}, ("app: no longer essential",)),
        ({"log_driver": "splunk"}, ("log driver none → splunk",)),
        ({"log_options": {"awslogs-group": "/web"}}, ("+ log option awslogs-group",)),
        ({"environment": {"FEATURE_X": "f1"}}, ("+ env FEATURE_X",)),
        ({"secrets": {"DB_PASSWORD": "f1"}}, ("+ secret DB_PASSWORD",)),
    ],
    ids=str,
)
def test_what_is_set_on_a_container_is_told(new: dict[str, object], told: tuple[str, ...]) -> None:
    assert of_app(**new) == told


def test_the_tasks_own_memory_and_cpu_are_told_in_ecs_units() -> None:
    small = definition(APP, memory="256", cpu="256")
    big = definition(APP, memory="512", cpu="")

    assert between(big, small) == ("task memory 512 → 256 MiB", "task CPU none → 256")
    assert between(definition(APP, memory="1 GB"), definition(APP, memory="2 GB")) == (
        "task memory 1 GB → 2 GB",
    )


def test_of_variables_and_secrets_only_names_are_told() -> None:
    before = replace(
        APP,
        environment={"GONE": "f1", "LOG_LEVEL": "f2", "SAME": "f3", "DB_PASSWORD": "f4"},
        secrets={"OLD_KEY": "f5", "API_KEY": "f6"},
    )
    after = replace(
        APP,
        environment={"LOG_LEVEL": "f9", "SAME": "f3", "NEW": "f8"},
        secrets={"DB_PASSWORD": "f4", "API_KEY": "f7"},
    )

    told = between(definition(before), definition(after))

    assert told == (
        f"{GONE} secret OLD_KEY",
        "+ secret DB_PASSWORD",
        "~ secret API_KEY",
        f"{GONE} env DB_PASSWORD, GONE",
        "+ env NEW",
        "~ env LOG_LEVEL",
    )
    assert not any(f"f{number}" in line for number in range(1, 10) for line in told)


def test_many_names_are_counted() -> None:
    assert of_app(environment={f"V{number}": "" for number in range(9)}) == (
        "+ env V0, V1, V2, V3, V4 and 4 more",
    )


def test_containers_that_came_and_went_are_told_and_others_are_named_where_there_are_several() -> (
    None
):
    before = definition(APP, ContainerDefinition(name="init", image="busybox"))
    after = definition(replace(APP, memory=256, is_essential=False), PROXY)

    assert between(before, after) == (
        "+ container proxy (envoyproxy/envoy:v1.30)",
        f"{GONE} container init",
        "app: memory none → 256 MiB",
        "app: no longer essential",
    )


def test_the_image_stands_first_and_of_many_lines_the_rest_is_counted() -> None:
    after = replace(
        APP,
        image=f"{ECR}/shop/web:v1.8.3",
        memory=1,
        memory_reservation=1,
        cpu=1,
        command=("x",),
        entry_point=("x",),
        secrets={"S": ""},
        environment={"E": ""},
        ports=("1/tcp",),
        health_check="x",
        log_driver="x",
    )
    told = between(definition(APP), definition(after))

    assert told[0] == "app image v1.8.2 → v1.8.3"
    assert len(told) == LINES_AT_MOST + 1
    assert told[-1] == "… and 3 more"


def test_a_single_line_too_many_is_shown_and_not_counted() -> None:
    one_too_many = {f"log_{number}": str(number) for number in range(LINES_AT_MOST + 1)}
    containers = [ContainerDefinition(name=name) for name in one_too_many]

    told = between(definition(APP), definition(APP, *containers))

    assert len(told) == LINES_AT_MOST + 1
    assert told[-1] == "+ container log_8"


# --- commands ---------------------------------------------------------------------------------


def command(old: str, new: str) -> tuple[str, ...]:
    before = definition(replace(APP, command=tuple(old.split())))
    return between(before, definition(replace(APP, command=tuple(new.split()))))


def test_the_words_of_a_command_that_differ_are_shown_if_they_are_few() -> None:
    assert command("java -Xmx512m -jar web.jar", "java -Xmx256m -jar web.jar") == (
        "command changed: -Xmx512m → -Xmx256m",
    )
    assert command("serve", "serve --fast") == ("command changed: nothing → --fast",)
    assert command("serve --fast", "serve") == ("command changed: --fast → nothing",)
    assert command("serve", "") == ("command removed",)
    assert command("serve web", "serve api") == ("command changed: web → api",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("serve --password hunter2", "serve --password hunter3"),
        ("serve --password=hunter2", "serve"),
        ("serve --db postgres://u:p@db/x", "serve --db postgres://u:q@db/x"),
        ("serve -t 0a1b2c3d4e5f60718293", "serve -t 1a1b2c3d4e5f60718293"),
        ("serve --api-key a", "serve --api-key b"),
        ("a b c d e", "v w x y z"),
        ("serve a b", "serve c b d"),
        ("serve " + "x" * 40, "serve " + "y" * 40),
        ("mysql -u root -phunter2", "mysql -u root -phunter3"),
        ("redis-cli -a S3cr3tPw ping", "redis-cli -a An0therPw ping"),
        ("redis-cli -a secretly ping", "redis-cli -a silently ping"),
        ("curl -u bob:hunter2 localhost", "curl -u bob:hunter3 localhost"),
        ("curl -u bob:hunter2 localhost up", "curl -u bob:hunter2 localhost down"),
        ("serve --password admin hunter2", "serve --password admin hunter3"),
        ("serve --password admin hunter", "serve --password admin fisher"),
        ("serve --pw hunter2", "serve --pw hunter3"),
        ("serve --pw hunter", "serve"),
        ("serve --phrase correct horse", "serve --phrase correct zebra"),
        ("serve --pin 12", "serve --pin 34"),
        ("serve -v 12", "serve -v 34"),
        ("serve -zab", "serve -zcd"),
        ("serve -zab", "serve"),
        ("serve --mode=ab", "serve --mode=cd"),
        ("serve mode=ab", "serve mode=cd"),
        ("serve bob:ab", "serve bob:cd"),
        ("login bob hunter2", "login bob hunter3"),
        ("export PGPASSWORD=hunter2 serve web", "export PGPASSWORD=hunter2 serve api"),
    ],
)
def test_words_that_may_be_secret_or_are_many_stay_away(old: str, new: str) -> None:
    assert command(old, new) == ("command changed",)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("CMD-SHELL mysql -u root -phunter2", "CMD-SHELL mysql -u root -phunter3"),
        ("CMD redis-cli -a S3cr3tPw ping", "CMD redis-cli -a An0therPw ping"),
        ("CMD redis-cli -a S3cr3tPw ping every 5 s", "CMD redis-cli -a S3cr3tPw ping every 9 s"),
    ],
)
def test_a_password_in_a_health_check_stays_away(old: str, new: str) -> None:
    before, after = replace(APP, health_check=old), replace(APP, health_check=new)

    assert between(definition(before), definition(after)) == ("health check changed",)


def test_long_commands_are_compared_at_once() -> None:
    (line,) = command("a " * 30_000, "b " * 30_000)

    assert line == "command changed"


@given(st.lists(st.sampled_from(["a", "-x", "--xy", "hunter2", "b:c", "d=e"]), max_size=5))
def test_no_value_of_an_option_is_ever_shown(words: list[str]) -> None:
    later = ("serve", *words)
    for told in (*command("serve", " ".join(later)), *command(" ".join(later), "serve")):
        assert not words or re.fullmatch(r"command changed(: .*)?", told)
        assert not words or not re.search(r"hunter2|b:c|d=e", told)


def test_a_health_check_that_changed_shows_how() -> None:
    before = replace(
        APP, health_check="CMD curl -f localhost/up, every 30 s, retries 3, timeout 5 s"
    )
    after = replace(APP, health_check="CMD curl -f localhost/up, every 5 s, retries 3, timeout 5 s")
    tried = replace(before, health_check=before.health_check.replace("3,", "9,"))

    assert between(definition(before), definition(after)) == ("health check changed: 30 → 5",)
    assert between(definition(before), definition(tried)) == ("health check changed: 3 → 9",)


# --- the same task definition -----------------------------------------------------------------


def again(**fields: object) -> tuple[str, ...]:
    same = {"failing_revision": OLD, "serving_revision": OLD}
    return changes(facts(**(same | fields)))


def test_the_same_revision_with_another_image_is_told_by_the_digest() -> None:
    both = digests({"app": A, "proxy": A}, {"app": B, "proxy": A})

    assert again(failing=definition(replace(APP, image="web:latest")), **both) == (
        "same task definition :42, new image digest: app latest 3f2a41d0… → 9c1d22e7…",
    )
    assert again(**both) == (
        "same task definition :42, new image digest: app 3f2a41d0… → 9c1d22e7…",
    )


def test_the_same_revision_with_the_same_images_says_that_nothing_changed() -> None:
    assert again(**digests({"app": A}, {"app": A})) == ("same task definition :42, same images",)


def test_unknown_digests_are_not_called_the_same() -> None:
    assert again() == ("same task definition :42; image digests are not known",)


def test_where_nobody_deployed_the_reader_learns_since_when() -> None:
    at = datetime(2026, 11, 22, 18, 3, tzinfo=UTC)
    (line,) = again(has_completed=True, last_deployment_at=at)
    done = ServiceDeployment(arn="", status="SUCCESSFUL")

    assert line == "no deployment since 2026-11-22T18:03:00+00:00"
    assert deployed_at(line) == at
    assert again(service_deployment=done, last_deployment_at=at) == (line,)
    assert again(has_completed=True) == ("no new deployment, still :42",)


@pytest.mark.parametrize(
    "line", ["", "app image v1 → v2", "no deployment since ", "x no deployment since 2026-11-22"]
)
def test_no_other_line_is_taken_for_a_time(line: str) -> None:
    assert deployed_at(line) is None


def test_a_deployment_that_goes_on_is_one() -> None:
    assert "no deployment" not in again(has_completed=False, last_deployment_at=NOON)[0]


# --- what could not be read -------------------------------------------------------------------


def missing(action: str, what: str = "task definitions") -> dict[str, object]:
    return {"missing": (Missing(what=what, why="no permission", action=action),)}


def test_without_task_definitions_revisions_and_digests_are_told() -> None:
    known = digests({"app": A}, {"app": B})

    assert changes(facts(failing=definition(APP), **known)) == (
        "task definition :42 → :43",
        "app new image digest 3f2a41d0… → 9c1d22e7…",
        "what else changed is not known: task definitions were not read",
    )
    assert changes(facts(**missing("ecs:DescribeTaskDefinition"))) == (
        "task definition :42 → :43",
        "could not be read: task definitions (no permission)",
    )


def test_another_family_is_named_in_full() -> None:
    other = facts(failing_revision=f"{ARN}shop:1", failing=definition(APP), serving=definition(APP))

    assert changes(other) == ("task definition web:42 → shop:1: nothing that we compare",)
    changed = replace(other, failing=definition(APP, cpu="1"))
    assert changes(changed) == ("task definition web:42 → shop:1", "task CPU none → 1")


def test_a_first_deployment_has_nothing_to_be_compared_with() -> None:
    assert changes(facts(serving_revision="")) == ("first deployment: nothing to compare with",)
    logs = missing("logs:GetLogEvents", "logs")
    assert changes(facts(serving_revision="", **logs))[0].startswith("first deployment")


def test_a_deployment_that_could_not_be_read_is_not_called_the_first() -> None:
    unread = missing("ecs:DescribeServiceRevisions", "service revisions")

    assert changes(facts(serving_revision="", **unread)) == (
        "could not be read: service revisions (no permission)",
    )
    assert changes(facts(failing_revision="", serving_revision="")) == (
        "could not be read: which task definitions were deployed",
    )


# --- whatever comes ---------------------------------------------------------------------------

NAMES = st.sampled_from(["app", "proxy", "init"])
FINGERPRINTS = st.dictionaries(st.sampled_from("ABCD"), st.sampled_from(["VALUE-1", "VALUE-2"]))
IMAGES = st.text(st.sampled_from("ab:/@1"), max_size=12)
CONTAINERS = st.builds(
    ContainerDefinition,
    name=NAMES,
    image=IMAGES,
    is_essential=st.booleans(),
    cpu=st.integers(0, 2),
    memory=st.integers(0, 2),
    command=st.lists(st.sampled_from(["a", "b", "--token"]), max_size=4).map(tuple),
    environment=FINGERPRINTS,
    secrets=FINGERPRINTS,
    ports=st.lists(st.sampled_from(["80/tcp", "81/tcp"])).map(tuple),
    log_options=FINGERPRINTS,
)
DEFINITIONS = st.builds(
    TaskDefinition,
    arn=st.just(OLD),
    cpu=st.sampled_from(["", "256", "1 vCPU"]),
    containers=st.lists(CONTAINERS, max_size=3, unique_by=lambda one: one.name).map(tuple),
)
DIGESTS = st.dictionaries(NAMES, st.sampled_from([A, B, "", "x"]))
REVISIONS = st.sampled_from(["", "web", OLD, NEW])
ANY_FACTS = st.builds(
    Facts,
    service=st.just("web"),
    read_at=st.just(NOON),
    failing_revision=REVISIONS,
    serving_revision=REVISIONS,
    failing=st.none() | DEFINITIONS,
    serving=st.none() | DEFINITIONS,
    failing_images=DIGESTS,
    serving_images=DIGESTS,
    last_deployment_at=st.none() | st.just(NOON),
    has_completed=st.none() | st.booleans(),
)


@given(ANY_FACTS)
def test_there_is_always_something_to_say_and_never_a_value(any_facts: Facts) -> None:
    told = changes(any_facts)

    assert 1 <= len(told) <= LINES_AT_MOST + 1
    assert all(line and "VALUE" not in line for line in told)
