"""Who shipped a deployment, how surely, and whom Slack rings for it."""

import json
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.actors import (
    ACTOR_TAG,
    LONGEST_SESSION_NAME,
    URL_TAG,
    actor,
    parse_actors,
    parse_session_names,
    shipment,
)
from notifier.errors import SettingsError
from notifier.events import parse
from notifier.facts import Actor, Facts, ServiceDeployment, Shipment, TaskDefinition
from notifier.model import ApiCall, Caller

EVENTS = Path(__file__).parent.parent / "events"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REVISION = "arn:aws:ecs:us-west-2:111122223333:task-definition/demo:44"
OURS, OTHER = "ecs-svc/1111111111111111111", "ecs-svc/2222222222222222222"
ALICE = Actor(name="Alice")
NOBODY: Mapping[str, str] = {}


def facts(**fields: object) -> Facts:
    known = {"deployment_id": OURS, "failing_revision": REVISION, "read_at": NOON}
    return Facts(**({"service": "web"} | known | fields))  # type: ignore[arg-type]


def shipped(**fields: object) -> Shipment:
    known = {"at": NOON - 5 * MINUTE, "actor": ALICE, "deployment_id": OURS, "is_person": True}
    return Shipment(**(known | {"task_definition": REVISION} | fields))  # type: ignore[arg-type]


def told(facts: Facts, *shipments: Shipment, slack_ids: Mapping[str, str] = NOBODY) -> Actor:
    who = actor(facts, shipments, slack_ids)
    assert who
    return who


def recorded(name: str) -> ApiCall:
    event = parse((EVENTS / f"{name}.json").read_text())
    assert isinstance(event, ApiCall)
    return event


def a_call(caller_name: str = "", **caller: str) -> ApiCall:
    return ApiCall(
        id="1",
        account="111122223333",
        region="us-west-2",
        partition="aws",
        occurred_at=NOON - 5 * MINUTE,
        sent_at=NOON,
        identity="call 1",
        cluster_arn=None,
        name="UpdateService",
        error_code="",
        failure_reasons=(),
        service="web",
        caller_type=caller.get("type", ""),
        caller_name=caller_name,
        caller=Caller(**caller),
        begins_deployment=True,
        deployment_id=OURS,
        task_definition=REVISION,
    )


def by(call: ApiCall, session_names: str = "") -> Actor:
    found = shipment(call, parse_session_names(session_names))
    assert found
    return found.actor


def by_session(name: str, session_names: str = "", role: str = "deployer") -> Actor:
    return by(a_call(type="AssumedRole", role=role, session_name=name), session_names)


# --- whose record it is -----------------------------------------------------------------------


def test_a_record_that_names_the_deployment_is_certain_and_rings() -> None:
    call = shipment(recorded("ct-update-service-github-actor-built"), parse_session_names())
    assert call

    who = told(facts(), call, slack_ids=parse_actors("octo-cat=U0456"))

    assert who == Actor(
        name="octo-cat",
        via="GitHub Actions",
        url="https://github.com/octo-org/octo-repo/actions/runs/12345678901",
        is_certain=True,
        slack_id="U0456",
    )


def test_a_name_is_found_in_the_settings_however_it_is_written() -> None:
    assert told(facts(), shipped(), slack_ids=parse_actors("ALICE=U1")).slack_id == "U1"
    assert told(facts(), shipped(), slack_ids=parse_actors("bob=U1")).slack_id == ""


def test_a_record_that_names_no_deployment_is_probable_and_nobody_is_rung() -> None:
    who = told(facts(), shipped(deployment_id=None), slack_ids={"alice": "U1"})

    assert (who.name, who.is_certain, who.slack_id) == ("Alice", False, "")


@pytest.mark.parametrize(
    "other",
    [
        {"deployment_id": OTHER},
        {"deployment_id": None, "task_definition": "demo:43"},
        {"deployment_id": None, "task_definition": "dem"},
        {"deployment_id": None, "at": NOON - timedelta(days=2)},
        {"deployment_id": None, "at": NOON + MINUTE},
    ],
    ids=str,
)
def test_somebody_who_shipped_something_else_is_not_named(other: dict[str, object]) -> None:
    assert actor(facts(), [shipped(**other)], NOBODY) is None


@pytest.mark.parametrize("named", [REVISION, "demo:44", "demo", ""])
def test_a_call_may_name_its_task_definition_in_any_form(named: str) -> None:
    assert told(facts(), shipped(deployment_id=None, task_definition=named)).name == "Alice"


def test_of_several_that_may_be_it_the_newest_is_named_and_who_is_certain_before_all() -> None:
    earlier = shipped(deployment_id=None, at=NOON - 9 * MINUTE, actor=Actor(name="Bob"))
    later = shipped(deployment_id=None, at=NOON - 2 * MINUTE, actor=Actor(name="Carol"))

    assert told(facts(), later, earlier).name == "Carol"
    assert told(facts(), later, shipped(), earlier).name == "Alice"


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_calls_that_name_the_deployment_the_first_began_it(turned: bool) -> None:
    """The second one changed nothing, and is answered with the same deployment."""
    began = shipped(at=NOON - 5 * MINUTE)
    again = shipped(at=NOON - 4 * MINUTE, actor=Actor(name="Olga"))
    calls = (again, began) if turned else (began, again)

    assert told(facts(), *calls, slack_ids={"alice": "U1", "olga": "U2"}).slack_id == "U1"


def test_who_called_at_another_time_than_the_deployment_began_did_not_begin_it() -> None:
    at_noon = facts(service_deployment=ServiceDeployment(arn="", created_at=NOON - 4 * MINUTE))
    long_before = facts(service_deployment=ServiceDeployment(arn="", created_at=NOON - 9 * MINUTE))
    call = shipped(deployment_id=None)

    assert told(at_noon, call).name == "Alice"
    assert actor(long_before, [call], NOBODY) is None
    assert actor(facts(), [call], NOBODY, began_at=NOON - 9 * MINUTE) is None
    assert actor(facts(), [call], NOBODY, began_at=NOON - 5 * MINUTE) is not None


def test_without_any_word_of_it_nobody_is_named() -> None:
    assert actor(facts(), [], NOBODY) is None
    assert actor(facts(tags={"team": "shop"}, deployment_id=None), [], NOBODY) is None


def test_a_call_that_began_no_deployment_is_nobodys() -> None:
    scaled = recorded("ct-update-service-auto-scaling-built")

    assert shipment(scaled, parse_session_names()) is None


# --- tags -------------------------------------------------------------------------------------

RUN = "https://ci.example.com/run/7"


def of_revision(of_it: Mapping[str, str], **fields: object) -> Facts:
    return facts(failing=TaskDefinition(arn=REVISION, tags=of_it), **fields)


def test_a_tag_names_who_and_where_without_any_record_but_rings_nobody() -> None:
    tagged = of_revision({ACTOR_TAG: "mika", URL_TAG: RUN})

    assert told(tagged, slack_ids={"mika": "U1"}) == Actor(name="mika", url=RUN)


def test_the_task_definitions_tags_go_before_the_services() -> None:
    both = of_revision({ACTOR_TAG: "mika"}, tags={ACTOR_TAG: "alice", URL_TAG: RUN})

    assert (told(both).name, told(both).url) == ("mika", "")
    assert told(facts(tags={ACTOR_TAG: "alice", URL_TAG: RUN})).name == "alice"


def test_a_tag_of_the_revision_says_whom_the_pipeline_shipped_for_and_rings_nobody() -> None:
    pipeline = shipped(actor=Actor(name="GitHub Actions", via="role deployer"), is_person=False)

    who = told(of_revision({ACTOR_TAG: "mika"}), pipeline, slack_ids={"mika": "U1"})

    assert who == Actor(name="mika", via="GitHub Actions")


def test_a_tag_that_names_whom_the_record_names_rings() -> None:
    who = told(of_revision({ACTOR_TAG: "alice"}), shipped(), slack_ids={"alice": "U2"})

    assert who == Actor(name="Alice", is_certain=True, slack_id="U2")


def test_a_tag_that_the_record_speaks_against_is_shown_but_rings_nobody() -> None:
    who = told(of_revision({ACTOR_TAG: "mika"}), shipped(), slack_ids={"mika": "U1", "alice": "U2"})

    assert (who.name, who.is_certain, who.slack_id) == ("mika", False, "")


def test_a_services_tag_may_be_of_an_older_deployment() -> None:
    pipeline = shipped(actor=Actor(name="GitHub Actions"), is_person=False)
    tagged = facts(tags={ACTOR_TAG: "mika"})

    assert not told(tagged, pipeline).is_certain
    assert told(tagged, shipped(actor=Actor(name="Mika", via="role x"))) == Actor(
        name="Mika", via="role x", is_certain=True
    )


def test_a_tag_with_the_run_alone_leaves_the_name_to_the_record() -> None:
    who = told(of_revision({URL_TAG: RUN}), shipped(), slack_ids={"alice": "U2"})

    assert who == Actor(name="Alice", url=RUN, is_certain=True, slack_id="U2")
    assert told(of_revision({URL_TAG: RUN})).name == "ci.example.com"


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "run 7", "https://", "http://a b", "https://x|y", "https://u:p@h/"],
)
def test_a_tag_that_is_no_address_is_no_link(url: str) -> None:
    assert told(of_revision({ACTOR_TAG: "mika", URL_TAG: url})).url == ""


# --- the session's name -----------------------------------------------------------------------

# The lines that pipelines are told to use, in the variables of the two tools.
# https://docs.github.com/en/actions/reference/workflows-and-actions/variables
# https://docs.gitlab.com/ci/variables/predefined_variables/
FIT = "tr / = | tr -c '[:alnum:]_=.@-' _ | cut -c1-64"
GITHUB = f'printf %s "gh-$GITHUB_RUN_ID-$GITHUB_ACTOR@$GITHUB_REPOSITORY" | {FIT}'
GITLAB = f'printf %s "gl-$CI_PIPELINE_ID-$GITLAB_USER_LOGIN@$CI_PROJECT_PATH" | {FIT}'


def printed(command: str, **environment: str) -> str:
    """What the line prints in the plainest shell, as `role-session-name` gets it."""
    answer = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": "/usr/bin:/bin"} | environment,
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    name = answer.stdout.removesuffix("\n")
    assert re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII)
    return name


def on_github(who: str, repository: str) -> Actor:
    variables = {"GITHUB_RUN_ID": "12345678901", "GITHUB_ACTOR": who}
    return by_session(printed(GITHUB, GITHUB_REPOSITORY=repository, **variables))


def test_the_line_for_github_actions_gives_the_actor_and_the_run() -> None:
    assert on_github("octo-cat", "octo-org/octo.repo_1") == Actor(
        name="octo-cat",
        via="GitHub Actions",
        url="https://github.com/octo-org/octo.repo_1/actions/runs/12345678901",
    )


def test_a_bots_brackets_do_not_stop_the_pipeline() -> None:
    assert on_github("renovate[bot]", "a/b").name == "renovate_bot_"


def test_a_name_that_was_cut_to_fit_leads_nowhere_rather_than_astray() -> None:
    who = on_github("octo-cat", "a-rather-long-organisation/and-a-long-repository")

    assert who == Actor(name="octo-cat", via="GitHub Actions")


def test_the_line_for_gitlab_gives_the_actor_and_the_pipeline() -> None:
    variables = {"CI_PIPELINE_ID": "987654", "GITLAB_USER_LOGIN": "mika.k"}

    assert by_session(printed(GITLAB, CI_PROJECT_PATH="shop/web/api", **variables)) == Actor(
        name="mika.k",
        via="GitLab CI",
        url="https://gitlab.com/shop/web/api/-/pipelines/987654",
    )


def test_a_login_that_was_cut_names_nobody() -> None:
    variables = {"CI_PIPELINE_ID": "987654", "CI_PROJECT_PATH": "a/b"}
    name = printed(GITLAB, GITLAB_USER_LOGIN="m" * 99, **variables)

    assert len(name) == LONGEST_SESSION_NAME
    assert by_session(name) == Actor(name="GitLab CI", via="role deployer")


@pytest.mark.parametrize(
    ("session", "tool"),
    [
        ("GitHubActions", "GitHub Actions"),
        ("GitLabRunner-12-3456", "GitLab CI"),
        ("GitLabRunner-3456", "GitLab CI"),
        ("AWSCodeBuild-0f3c1c2e-7e4f-4b3c-9f62-0b4f6c0f4b11", "CodeBuild"),
        ("AWSCloudFormation", "CloudFormation"),
    ],
)
def test_a_session_named_by_its_tool_gives_the_tool_and_the_role(session: str, tool: str) -> None:
    assert by_session(session) == Actor(name=tool, via="role deployer")


def test_a_run_without_its_repository_gives_the_actor_alone() -> None:
    assert by_session("gh-123-octo-cat") == Actor(name="octo-cat", via="GitHub Actions")


@pytest.mark.parametrize("path", ["..=..", ".=b", "a=..", "...=.."])
def test_a_link_never_climbs_out_of_its_site(path: str) -> None:
    assert by_session(f"gh-1-mika@{path}").url == ""


OWN = (
    r"Jenkins: jenkins-(?P<job>[\w=-]+?)-(?P<run>\d+)@(?P<actor>.+) -> https://ci.example.com/"
    r"job/{job}/{run}; GitLab CI: gl-(?P<pipeline>\d+)-(?P<actor>[\w.-]+)@(?P<project>.+)"
    " -> https://git.example.com/{project}/-/pipelines/{pipeline}?who={actor};"
)


def test_own_patterns_give_actor_and_link_and_go_before_the_shipped_ones() -> None:
    assert by_session("jenkins-shop=deploy-7@mika", OWN) == Actor(
        name="mika", via="Jenkins", url="https://ci.example.com/job/shop/deploy/7"
    )
    assert by_session("gl-5-mika@shop=web", OWN).url == (
        "https://git.example.com/shop/web/-/pipelines/5?who=mika"
    )
    assert by_session("GitHubActions", OWN).name == "GitHub Actions"


def test_a_pattern_has_to_match_the_whole_name() -> None:
    assert by_session("jenkins-shop-7-and-more", OWN).via == "role deployer"


@given(st.text(st.sampled_from("abz019_+=,.@-"), min_size=2, max_size=64))
def test_whatever_a_session_is_called_it_has_a_name_and_a_link_to_a_known_site(name: str) -> None:
    rule = "X: (?P<actor>[^=]*)=?(?P<rest>.*) -> https://ci.example.com/{rest}/{actor}"
    for rules in ("", rule):
        who = by_session(name, rules)
        assert who.name
        assert re.fullmatch(r"(https://(ci\.example|github|gitlab)\.com/[\w%./@+,=-]+)?", who.url)
        assert "/../" not in who.url


# --- the caller's identity --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "expected"),
    [
        ({"type": "IAMUser", "user_name": "Alice"}, Actor(name="Alice")),
        (
            {"type": "IAMUser", "user_name": "Alice", "invoked_by": "cloudformation.amazonaws.com"},
            Actor(name="Alice", via="CloudFormation"),
        ),
        (
            {"role": "AWSReservedSSO_Admin_0123456789abcdef", "session_name": "mika@example.com"},
            Actor(name="mika@example.com", via="IAM Identity Center"),
        ),
        (
            {"role": "scheduler", "session_name": "nightly"},
            Actor(name="nightly", via="role scheduler"),
        ),
        (
            {"role": "deployer", "session_name": "botocore-session-1700000000"},
            Actor(name="role deployer"),
        ),
        ({"role": "deployer", "session_name": "i-0123456789abcdef0"}, Actor(name="role deployer")),
        ({"role": "deployer"}, Actor(name="role deployer")),
        (
            {"role": "p", "session_name": "17000000", "invoked_by": "codepipeline.amazonaws.com"},
            Actor(name="CodePipeline", via="role p"),
        ),
        (
            {
                "role": "deployer",
                "session_name": "release",
                "identity_provider": (
                    "arn:aws:iam::1:oidc-provider/token.actions.githubusercontent.com"
                ),
            },
            Actor(name="release", via="GitHub Actions"),
        ),
        ({"type": "Root"}, Actor(name="root")),
        (
            {"type": "IdentityCenterUser", "user_name": "544894e8-80c1"},
            Actor(name="user 544894e8-80c1", via="IAM Identity Center"),
        ),
        (
            {"type": "AWSService", "invoked_by": "ecs.application-autoscaling.amazonaws.com"},
            Actor(name="Application Auto Scaling"),
        ),
        (
            {"type": "AWSService", "invoked_by": "new.amazonaws.com"},
            Actor(name="new.amazonaws.com"),
        ),
        ({"type": "AWSService"}, Actor(name="unknown")),
        (
            {"role": "AWSServiceRoleForECS", "session_name": "ecs-service-scheduler"},
            Actor(name="role AWSServiceRoleForECS"),
        ),
        ({"type": "WebIdentityUser", "user_name": "repo:x/y"}, Actor(name="repo:x/y")),
        ({"type": "Unknown"}, Actor(name="unknown")),
        ({}, Actor(name="unknown")),
    ],
    ids=str,
)
def test_a_caller_is_named_as_its_record_names_it(caller: dict[str, str], expected: Actor) -> None:
    assert by(a_call(**caller)) == expected


def test_a_caller_of_an_unknown_kind_is_called_what_the_record_calls_it() -> None:
    assert by(a_call("arn-tail", type="AWSAccount")).name == "arn-tail"


@pytest.mark.parametrize(
    ("caller", "is_person"),
    [
        ({"type": "IAMUser", "user_name": "Alice"}, True),
        ({"role": "AWSReservedSSO_Admin_0", "session_name": "mika"}, True),
        ({"role": "deployer", "session_name": "mika"}, True),
        ({"role": "deployer", "session_name": "gh-1-mika"}, True),
        ({"role": "deployer", "session_name": "GitHubActions"}, False),
        ({"role": "deployer", "session_name": "x", "invoked_by": "y.amazonaws.com"}, False),
        ({"role": "deployer", "session_name": "1700000000"}, False),
        ({"type": "AWSService", "invoked_by": "y.amazonaws.com"}, False),
        ({"role": "AWSServiceRoleForECS", "session_name": "ecs-service-scheduler"}, False),
    ],
    ids=str,
)
def test_a_tool_is_not_taken_for_a_person(caller: dict[str, str], is_person: bool) -> None:
    found = shipment(a_call(**caller), parse_session_names())

    assert found
    assert found.is_person is is_person


def test_the_recorded_calls_are_told_as_whose_they_are() -> None:
    whose = {
        path.stem: by(call)
        for path in sorted(EVENTS.glob("ct-*-service-*.json"))
        if json.loads(path.read_text()).get("account")
        and (call := recorded(path.stem)).begins_deployment
    }

    assert whose == {
        "ct-create-service-without-answer-built": ALICE,
        "ct-update-service-github-actor-built": Actor(
            name="octo-cat",
            via="GitHub Actions",
            url="https://github.com/octo-org/octo-repo/actions/runs/12345678901",
        ),
        "ct-update-service-github-oidc-built": Actor(name="GitHub Actions", via="role deployer"),
        "ct-update-service-identity-center-built": Actor(
            name="mika@example.com", via="IAM Identity Center"
        ),
    }


# --- settings ---------------------------------------------------------------------------------


def test_actors_are_read_with_the_last_of_a_name_counting() -> None:
    assert parse_actors(" mika=U1; Octo-Cat = U2;;k=v@example.com=S3;MIKA=W4 ") == {
        "mika": "W4",
        "octo-cat": "U2",
        "k=v@example.com": "S3",
    }
    assert parse_actors("") == {}


@pytest.mark.parametrize("text", ["mika", "mika=", "=U1", "mika=@mika", "mika=u1", "a=U1 b=U2x"])
def test_a_bad_actor_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match=r"^Actors: '.*for example: mika="):
        parse_actors(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("jenkins-.*", "has no 'TOOL: PATTERN'"),
        (": x", "has no 'TOOL: PATTERN'"),
        ("Jenkins: ", "has no 'TOOL: PATTERN'"),
        ("Jenkins: (", "is not a regular expression"),
        ("Jenkins: x{99999999999}", "is not a regular expression"),
        ("Jenkins: (?P<run>x) -> ci/{run}", "is not an http or https address"),
        ("Jenkins: (?P<run>x) -> https://ci/{job}", r"'\{job\}'.*is no group"),
    ],
)
def test_a_bad_pattern_is_refused_and_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=rf"^SessionNames: .*{says}"):
        parse_session_names(text)
