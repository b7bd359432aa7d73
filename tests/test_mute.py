"""`ecs-watch mute`, `mutes` and `unmute` over a real table."""

from collections.abc import Iterator
from datetime import timedelta
from unittest.mock import patch

import boto3
import pytest
from moto import mock_aws

from notifier.cli import main
from notifier.cli.mute import span
from tests.watch import table

Capture = pytest.CaptureFixture[str]
OUTPUTS = {"TableName": "ecs-watch", "EventsQueueUrl": "https://sqs/queue"}


@pytest.fixture(autouse=True)
def deployed() -> Iterator[None]:
    from notifier import wiring

    wiring._client.cache_clear()
    with mock_aws():
        table()
        with patch("notifier.cli.aws.outputs_of", lambda _: OUTPUTS):
            yield
    wiring._client.cache_clear()


def test_a_mute_is_listed_with_its_end_and_why(capsys: Capture) -> None:
    assert main(["mute", "--cluster", "prod-*", "--for", "2h", "--why", "planned failover"]) == 0
    main(["mutes"])

    assert "prod-*: muted until" in (shown := capsys.readouterr().out)
    assert "planned failover" in shown


def test_a_mute_can_be_ended_early(capsys: Capture) -> None:
    main(["mute", "--cluster", "prod-*", "--for", "2h"])

    assert main(["unmute", "--cluster", "prod-*"]) == 0
    main(["mutes"])
    assert capsys.readouterr().out.endswith("nothing is muted\n")


def test_ending_a_mute_that_is_not_there_says_where_to_look(capsys: Capture) -> None:
    assert main(["unmute", "--cluster", "prod-*"]) == 1

    assert "'prod-*' is not muted; `ecs-watch mutes`" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["mutes"], ["mute", "--cluster", "x", "--for", "2h"]])
def test_without_a_table_it_is_said_who_knows_more(verb: list[str], capsys: Capture) -> None:
    boto3.client("dynamodb").delete_table(TableName="ecs-watch")

    assert main(verb) == 1
    assert capsys.readouterr().err == (
        "ecs-watch: stack 'ecs-watch' has lost its table; `ecs-watch doctor` says how it is "
        "restored\n"
    )


@pytest.mark.parametrize(
    "text", ["", " ", "prod web", "prod-*, dev-*", "prod/web", "[ab]", "prod\n", "x" * 256, "größe"]
)
def test_a_pattern_that_no_cluster_matches_is_refused(text: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mute", "--cluster", text, "--for", "2h"])

    assert ended.value.code == 2
    assert "matches no cluster" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["*", "prod-*", "Prod_web-1?", "x" * 255])
def test_any_name_and_its_wildcards_are_a_pattern(text: str) -> None:
    assert main(["mute", "--cluster", text, "--for", "2h"]) == 0


@pytest.mark.parametrize(
    ("text", "length"),
    [("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2)), ("1d", timedelta(days=1))],
)
def test_a_span_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert span(text) == length


@pytest.mark.parametrize("text", ["", "2", "0h", "31d", "-1h", "forever", "2 hours"])
def test_any_other_span_is_refused(text: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mute", "--cluster", "x", "--for", text])

    assert ended.value.code == 2
