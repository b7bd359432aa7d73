"""What the stack was deployed with reaches the doors, and clients give up early."""

from typing import Any

import pytest

from notifier import wiring
from notifier.actors import People, parse_session_names
from notifier.ecs import May
from notifier.settings import ReadLogs, Settings
from notifier.wiring import Program


def program(**more: Any) -> Program:
    return Program(Settings(table_name="t", channels="*=C01", slack_token_name="token", **more))


@pytest.mark.parametrize(
    ("settings", "may"),
    [
        ({}, May(task_definitions=True)),
        ({"read_task_definitions": False}, May()),
        ({"read_logs": ReadLogs.TAGGED}, May(task_definitions=True, logs=ReadLogs.TAGGED)),
        ({"look_up_deployers": True}, May(task_definitions=True, callers=True)),
    ],
)
def test_only_what_the_settings_allow_may_be_read(settings: Any, may: May) -> None:
    assert program(**settings).ecs.may == may


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(str(line.__dict__) for line in caplog.records if line.levelname == "ERROR")


def test_a_typo_in_who_is_who_is_logged_and_silences_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ours = program(actors="mika", session_names="Jenkins: [")

    assert ours.teller().people == People(session_names=parse_session_names())
    assert ours.intake.people.session_names == parse_session_names()
    assert ours.lookout().teller
    assert "'mika' is not a name" in logged(caplog)
    assert "'[' is not a regular expression" in logged(caplog)


@pytest.mark.parametrize(("wrong", "right"), [("actors", "session_names")])
def test_a_typo_in_one_setting_leaves_the_other_as_it_is(wrong: str, right: str) -> None:
    people = program(**{wrong: "mika", right: "Jenkins: jenkins-(?P<actor>.+)"}).people

    assert people.slack_ids == {}
    assert people.session_names[0].tool == "Jenkins"


@pytest.mark.parametrize("patterns", ["acme-[", "acme-[0-9]{4};;("])
def test_with_a_pattern_that_is_none_only_our_own_words_are_told(
    patterns: str, caplog: pytest.LogCaptureFixture
) -> None:
    teller = program(redact_patterns=patterns).teller()

    assert teller.only_our_words
    assert "is not a regular expression" in logged(caplog)
    assert not program(redact_patterns="acme-[0-9]{4}").teller().only_our_words


def test_looking_and_telling_share_a_door_that_remembers() -> None:
    ours = program()

    doors: list[object] = [ours.lookout().ecs, ours.teller().ecs]

    assert all(door is ours.accounts for door in doors)
    assert ours.accounts.home is ours.ecs


def test_each_client_gives_up_after_two_seconds_and_one_retry() -> None:
    door = program().ecs
    for client in (door.client(), door.other("iam", ""), door.other("logs", "eu-central-1")):
        config: Any = client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (2, 2)
        assert config.retries["total_max_attempts"] == 2


def test_a_log_is_read_in_its_own_region_and_all_else_in_the_stacks() -> None:
    door = program().ecs

    assert door.other("logs", "eu-central-1").meta.region_name == "eu-central-1"
    assert door.other("cloudtrail", "").meta.region_name == "eu-west-1"
    assert door.client().meta.region_name == "eu-west-1"


def test_a_client_is_made_once() -> None:
    door = program().ecs

    assert door.other("iam", "") is door.other("iam", "")
    assert wiring._client.cache_info().misses == 1
