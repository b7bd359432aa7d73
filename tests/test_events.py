"""What each recorded or built event is read as, and what becomes of everything else."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifier import events
from notifier.arns import cluster_name, parse_arn
from notifier.errors import MalformedEvent
from notifier.events import as_envelope, is_failure, parse
from notifier.model import (
    ApiCall,
    Caller,
    CodeDeployStateChange,
    DaemonDeploymentStateChange,
    DaemonServiceAction,
    DeploymentStateChange,
    Event,
    HookStateChange,
    NotOurs,
    RunbookFailed,
    ServiceAction,
    TaskRetry,
    TaskStateChange,
)

EVENTS = Path(__file__).parent.parent / "events"
Json = dict[str, Any]

# What each file of events/ is told apart as. The subject is a service, a daemon or an application;
# "failure" is what is_failure says.
TABLE = """\
file                                               |            | type                        | name                                         | subject        | cluster
ci-health-agent-connectivity-docs-2026             | not ours   | container instance health change
ci-health-daemon-impaired-docs-2026                | not ours   | container instance health change
ci-health-runtime-ok-docs-2026                     | not ours   | container instance health change
ci-state-change-docs-2016                          | not ours   | container instance state change
ci-state-change-lambda-dotnet                      | not ours   | container instance state change
ci-state-change-lambda-go                          | not ours   | container instance state change
codedeploy-failure-built                           | failure    | CodeDeployStateChange       | FAILURE                                      | myApplication  | -
codedeploy-stop-built                              | failure    | CodeDeployStateChange       | STOP                                         | myApplication  | -
codedeploy-success-docs                            | no failure | CodeDeployStateChange       | SUCCESS                                      | myApplication  | -
ct-create-cluster-docs                             | malformed  | source: expected a text, found nothing
ct-create-service-without-answer-built             | no failure | ApiCall                     | CreateService                                | servicetest    | default
ct-put-account-setting-default-us-gov-docs         | malformed  | source: expected a text, found nothing
ct-runtask-denied-built                            | no failure | ApiCall                     | RunTask                                      | -              | -
ct-runtask-envelope-minimal-botocraft              | no failure | ApiCall                     | RunTask                                      | -              | default
ct-runtask-failures-built                          | no failure | ApiCall                     | RunTask                                      | -              | default
ct-update-service-auto-scaling-built               | no failure | ApiCall                     | UpdateService                                | servicetest    | default
ct-update-service-github-actor-built               | no failure | ApiCall                     | UpdateService                                | servicetest    | default
ct-update-service-github-oidc-built                | no failure | ApiCall                     | UpdateService                                | servicetest    | default
ct-update-service-identity-center-built            | no failure | ApiCall                     | UpdateService                                | servicetest    | default
ct-update-service-scheduler-role-trimmed           | malformed  | account: expected a text, found nothing
ct-useridentity-assumed-role-docs                  | malformed  | source: expected a text, found nothing
ct-useridentity-iam-user-docs                      | malformed  | source: expected a text, found nothing
custom-lambda-deployment-starting-defra            | not ours   | other source
daemon-action-task-creation-failed-docs-2026       | failure    | DaemonServiceAction         | DAEMON_TASK_START_IMPAIRED                   | my-daemon      | my-cluster
daemon-action-task-failed-to-run-docs-2026         | failure    | DaemonServiceAction         | DAEMON_TASK_START_IMPAIRED                   | my-daemon      | my-cluster
daemon-deployment-in-progress-built                | no failure | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_IN_PROGRESS                | my-daemon      | my-cluster
daemon-deployment-pending-docs-2026                | no failure | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_PENDING                    | my-daemon      | my-cluster
daemon-deployment-rollback-failed-built            | failure    | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_ROLLBACK_FAILED            | my-daemon      | my-cluster
daemon-deployment-rollback-in-progress-built       | failure    | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_ROLLBACK_IN_PROGRESS       | my-daemon      | my-cluster
daemon-deployment-rollback-successful-built        | failure    | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_ROLLBACK_SUCCESSFUL        | my-daemon      | my-cluster
daemon-deployment-stop-requested-built             | failure    | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_STOP_REQUESTED             | my-daemon      | my-cluster
daemon-deployment-stopped-built                    | failure    | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_STOPPED                    | my-daemon      | my-cluster
daemon-deployment-successful-built                 | no failure | DaemonDeploymentStateChange | DAEMON_DEPLOYMENT_SUCCESSFUL                 | my-daemon      | my-cluster
dep-completed-d2d-2023                             | no failure | DeploymentStateChange       | SERVICE_DEPLOYMENT_COMPLETED                 | d2d-pdf        | d2d-cluster-dev
dep-completed-docs                                 | no failure | DeploymentStateChange       | SERVICE_DEPLOYMENT_COMPLETED                 | servicetest    | default
dep-failed-alarm-built                             | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | servicetest    | default
dep-failed-circuit-breaker-docs                    | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | servicetest    | default
dep-failed-replayed-built                          | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | servicetest    | default
dep-failed-us-gov-built                            | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | servicetest    | default
dep-failed-with-cluster-built                      | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | servicetest    | default
dep-in-progress-initial-docs                       | no failure | DeploymentStateChange       | SERVICE_DEPLOYMENT_IN_PROGRESS               | servicetest    | default
dep-in-progress-rollback-docs                      | no failure | DeploymentStateChange       | SERVICE_DEPLOYMENT_IN_PROGRESS               | servicetest    | default
ec2-spot-interruption-warning-docs                 | not ours   | EC2 spot warning
hook-awaiting-action-docs-2026                     | failure    | HookStateChange             | HOOK_AWAITING_ACTION                         | my-service     | my-cluster
hook-awaiting-action-without-resources-built       | failure    | HookStateChange             | HOOK_AWAITING_ACTION                         | my-service     | my-cluster
hook-failed-built                                  | failure    | HookStateChange             | HOOK_FAILED                                  | my-service     | my-cluster
hook-in-progress-built                             | no failure | HookStateChange             | HOOK_IN_PROGRESS                             | my-service     | my-cluster
hook-succeeded-built                               | no failure | HookStateChange             | HOOK_SUCCEEDED                               | my-service     | my-cluster
hook-timed-out-built                               | failure    | HookStateChange             | HOOK_TIMED_OUT                               | my-service     | my-cluster
runbook-failed-built                               | no failure | RunbookFailed               | RUNBOOK_FAILED                               | migration      | shop
sa-capacity-provider-steady-state-docs             | no failure | ServiceAction               | CAPACITY_PROVIDER_STEADY_STATE               | servicetest    | default
sa-daemon-placement-constraint-violated-built      | failure    | ServiceAction               | SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED | servicetest    | default
sa-deployment-failed-built                         | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | servicetest    | default
sa-deployment-in-progress-no-id-built              | no failure | DeploymentStateChange       | SERVICE_DEPLOYMENT_IN_PROGRESS               | servicetest    | default
sa-desired-count-updated-built                     | no failure | ServiceAction               | SERVICE_DESIRED_COUNT_UPDATED                | servicetest    | default
sa-ecs-operation-throttled-built                   | failure    | ServiceAction               | ECS_OPERATION_THROTTLED                      | servicetest    | default
sa-placement-failure-capacity-provider-empty-built | failure    | ServiceAction               | SERVICE_TASK_PLACEMENT_FAILURE               | servicetest    | default
sa-placement-failure-resource-cpu-docs             | failure    | ServiceAction               | SERVICE_TASK_PLACEMENT_FAILURE               | servicetest    | default
sa-placement-failure-resource-fargate-docs         | failure    | ServiceAction               | SERVICE_TASK_PLACEMENT_FAILURE               | servicetest    | default
sa-service-discovery-instance-unhealthy-built      | failure    | ServiceAction               | SERVICE_DISCOVERY_INSTANCE_UNHEALTHY         | servicetest    | default
sa-service-discovery-operation-throttled-built     | failure    | ServiceAction               | SERVICE_DISCOVERY_OPERATION_THROTTLED        | servicetest    | default
sa-service-health-unknown-built                    | failure    | ServiceAction               | SERVICE_HEALTH_UNKNOWN                       | servicetest    | default
sa-steady-state-arabold-2020-masked                | no failure | ServiceAction               | SERVICE_STEADY_STATE                         | ProxyApplicationBlueMaster-EcsServiceDev-############## | proxy-ecs-cluster-dev
sa-steady-state-docs                               | no failure | ServiceAction               | SERVICE_STEADY_STATE                         | servicetest    | default
sa-task-configuration-failure-built                | failure    | ServiceAction               | SERVICE_TASK_CONFIGURATION_FAILURE           | servicetest    | default
sa-task-start-impaired-cn-short-arn-built          | failure    | ServiceAction               | SERVICE_TASK_START_IMPAIRED                  | servicetest    | default
sa-task-start-impaired-docs                        | failure    | ServiceAction               | SERVICE_TASK_START_IMPAIRED                  | servicetest    | default
sa-task-start-impaired-wellcome-2023               | failure    | ServiceAction               | SERVICE_TASK_START_IMPAIRED                  | example-service | example-cluster
sa-tasks-stopped-built                             | no failure | ServiceAction               | TASKS_STOPPED                                | servicetest    | default
sa-taskset-steady-state-built                      | no failure | ServiceAction               | TASKSET_STEADY_STATE                         | servicetest    | default
sa-unknown-info-name-built                         | no failure | ServiceAction               | SERVICE_SOMETHING_NEW                        | servicetest    | default
sa-unknown-name-built                              | failure    | ServiceAction               | SERVICE_SOMETHING_NEW                        | servicetest    | default
sa-vpc-lattice-target-unhealthy-built              | failure    | ServiceAction               | VPC_LATTICE_TARGET_UNHEALTHY                 | servicetest    | default
sa-without-event-name-built                        | failure    | ServiceAction               | (nameless)                                   | servicetest    | default
scheduled-heartbeat-built                          | not ours   | heartbeat
task-pending-arabold-2020-masked                   | no failure | TaskStateChange             | (nameless)                                   | ProxyApplicationBlueMaster-EcsServiceDev-############ | proxy-ecs-cluster-dev
task-pending-nri-flex-2016                         | no failure | TaskStateChange             | (nameless)                                   | -              | cluster1
task-provisioning-autoptic-2026                    | malformed  | account: expected a text, found nothing
task-retry-given-up-built                          | no failure | TaskRetry                   | TASK_RETRY_GIVEN_UP                          | nightly-report | jobs
task-retry-waiting-built                           | no failure | TaskRetry                   | TASK_RETRY_WAITING                           | nightly-report | jobs
task-running-arkime-2023                           | no failure | TaskStateChange             | (nameless)                                   | DemoTrafficGen01-ServiceD69D759B-EfyMIBhdCKVk | DemoTrafficGen01-ClusterEB0386A7-sCRgDrfn5BP9
task-running-ec2-capacity-provider-docs-2025       | no failure | TaskStateChange             | (nameless)                                   | -              | example
task-running-ec2-docs-2016-old-arn                 | no failure | TaskStateChange             | (nameless)                                   | -              | default
task-running-fargate-docs-2020                     | no failure | TaskStateChange             | (nameless)                                   | -              | FargateCluster
task-running-multi-container-defra-2023            | no failure | TaskStateChange             | (nameless)                                   | cdp-demo-test-15 | dev-ecs-public
task-spot-termination-notice-docs-2023             | malformed  | region: expected a text, found nothing
task-state-change-lambda-dotnet                    | no failure | TaskStateChange             | (nameless)                                   | -              | FargateCluster
task-stopped-essential-exited-fivexl               | no failure | TaskStateChange             | (nameless)                                   | example-api-v1 | test
task-stopped-essential-exited-maas-2018            | no failure | TaskStateChange             | (nameless)                                   | -              | my-cluster-name
task-stopped-scaling-activity-exit0-rtcw-2021      | no failure | TaskStateChange             | (nameless)                                   | pro            | RTCWCluster
task-stopped-standalone-exit1-ec2-2019             | no failure | TaskStateChange             | (nameless)                                   | -              | Orca-Cluster
task-stopped-user-initiated-cwlogs-2020            | no failure | TaskStateChange             | (nameless)                                   | Webapp         | Features
try-me-built                                       | failure    | DeploymentStateChange       | SERVICE_DEPLOYMENT_FAILED                    | ecs-watch-test | try-me
unknown-detail-type-built                          | failure    | ServiceAction               | SERVICE_DEPLOYMENT_ROLLBACK_FAILED           | servicetest    | default
"""  # noqa: E501
ROWS = [[cell.strip() for cell in line.split("|")] for line in TABLE.splitlines()[1:]]


def recorded(name: str) -> Json:
    return dict(json.loads((EVENTS / f"{name}.json").read_text()))


def changed(name: str, **detail: object) -> Json:
    """The event of a file with some fields of its detail changed; None takes a field out."""
    event = recorded(name)
    fields = event["detail"] | detail
    event["detail"] = {key: value for key, value in fields.items() if value is not None}
    return event


def an_event(body: str | bytes | Mapping[str, object], stack_name: str = "") -> Event:
    event = parse(body, stack_name=stack_name)
    assert isinstance(event, Event)
    return event


def subject(event: Event) -> str | None:
    match event:
        case DaemonServiceAction() | DaemonDeploymentStateChange():
            return event.daemon
        case CodeDeployStateChange():
            return event.application
        case DeploymentStateChange() | ServiceAction() | TaskStateChange() | ApiCall():
            return event.service
        case HookStateChange():
            return event.service
        case TaskRetry() | RunbookFailed():
            return event.family
    raise AssertionError(event)


def outcome(body: str) -> list[str]:
    try:
        event = parse(body)
    except MalformedEvent as error:
        return ["malformed", str(error)]
    if isinstance(event, NotOurs):
        return ["not ours", event.why]
    return [
        "failure" if is_failure(event) else "no failure",
        type(event).__name__,
        event.name or "(nameless)",
        subject(event) or "-",
        cluster_name(event.cluster_arn) if event.cluster_arn else "-",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_event_of_the_folder_is_read_as_the_table_says(row: list[str]) -> None:
    file, *expected = row

    assert outcome((EVENTS / f"{file}.json").read_text()) == expected


def test_the_table_names_every_file_of_the_folder() -> None:
    assert [row[0] for row in ROWS] == sorted(path.stem for path in EVENTS.glob("*.json"))


def test_every_file_has_a_row_in_the_provenance_and_no_row_is_without_a_file() -> None:
    rows = (EVENTS / "PROVENANCE.md").read_text().splitlines()
    named = {row.split("|")[1].strip() for row in rows if row.startswith("|")}
    files = {path.name for folder in (EVENTS, EVENTS / "answers") for path in folder.glob("*.json")}

    assert {name for name in named if name.endswith(".json")} == files


@pytest.mark.parametrize("path", sorted((EVENTS / "answers").glob("*.json")), ids=lambda p: p.stem)
def test_an_answer_of_the_api_is_no_event(path: Path) -> None:
    with pytest.raises(MalformedEvent):
        parse(path.read_bytes())


# --- the catalogue ----------------------------------------------------------------------------


def test_every_name_of_the_catalogue_stands_on_one_side() -> None:
    assert not events.HEALTHY_NAMES & events.FAILURE_NAMES
    assert not events.HOOK_HEALTHY_NAMES & events.HOOK_FAILURE_NAMES
    assert not events.DAEMON_DEPLOYMENT_HEALTHY_NAMES & events.DAEMON_DEPLOYMENT_FAILURE_NAMES


@pytest.mark.parametrize("name", sorted(events.HEALTHY_NAMES))
@pytest.mark.parametrize("type_", ["INFO", "ERROR", None])
def test_a_healthy_name_is_no_failure_whatever_its_type(name: str, type_: str | None) -> None:
    event = changed("sa-steady-state-docs", eventName=name, eventType=type_)

    assert not is_failure(an_event(event))


@pytest.mark.parametrize("name", sorted(events.FAILURE_NAMES))
@pytest.mark.parametrize("type_", ["INFO", "ERROR", None])
def test_a_failing_name_is_a_failure_whatever_its_type(name: str, type_: str | None) -> None:
    event = changed("sa-task-start-impaired-docs", eventName=name, eventType=type_)

    assert is_failure(an_event(event))


@pytest.mark.parametrize("name", ["SERVICE_SOMETHING_NEW", None])
@pytest.mark.parametrize(
    ("type_", "failing"),
    [("INFO", False), ("WARN", True), ("WARNING", True), ("ERROR", True), (None, True), (7, True)],
)
def test_an_unknown_name_or_none_is_a_failure_unless_it_is_info(
    name: str | None, type_: object, failing: bool
) -> None:
    event = changed("sa-task-start-impaired-docs", eventName=name, eventType=type_)

    assert is_failure(an_event(event)) is failing


def test_a_daemon_that_cannot_start_is_a_failure_though_its_type_is_missing_or_info() -> None:
    for type_ in (None, "INFO", "WARNING"):
        event = changed("daemon-action-task-creation-failed-docs-2026", eventType=type_)

        assert is_failure(an_event(event))


def test_an_unknown_hook_or_daemon_name_is_judged_by_its_type() -> None:
    hook, daemon = "hook-awaiting-action-docs-2026", "daemon-deployment-pending-docs-2026"

    assert not is_failure(an_event(changed(hook, eventName="HOOK_NEW", eventType="INFO")))
    assert is_failure(an_event(changed(hook, eventName="HOOK_NEW", eventType="ERROR")))
    assert not is_failure(an_event(changed(daemon, eventName="DAEMON_NEW", eventType="INFO")))
    assert is_failure(an_event(changed(daemon, eventName="DAEMON_NEW", eventType="ERROR")))


# --- what an event says -----------------------------------------------------------------------


def test_a_failed_deployment_says_all_that_the_event_says() -> None:
    assert an_event(recorded("dep-failed-with-cluster-built")) == DeploymentStateChange(
        id=recorded("dep-failed-with-cluster-built")["id"],
        account="111122223333",
        region="us-west-2",
        partition="aws",
        occurred_at=datetime(2026, 3, 5, 15, 54, 39, 418_000, tzinfo=UTC),
        sent_at=datetime(2026, 3, 5, 15, 54, 41, tzinfo=UTC),
        identity="deployment ecs-svc/4758193204657281930 SERVICE_DEPLOYMENT_FAILED"
        " 2026-03-05T15:54:39.418+00:00",
        cluster_arn="arn:aws:ecs:us-west-2:111122223333:cluster/default",
        name="SERVICE_DEPLOYMENT_FAILED",
        type="ERROR",
        reason="ECS deployment circuit breaker: tasks failed to start.",
        service="servicetest",
        deployment_id="ecs-svc/4758193204657281930",
    )


def test_a_placement_failure_says_where_no_room_was() -> None:
    event = an_event(recorded("sa-placement-failure-resource-cpu-docs"))

    assert isinstance(event, ServiceAction)
    assert event.reason == "RESOURCE:CPU"
    assert event.container_instance_arns == (
        "arn:aws:ecs:us-west-2:111122223333:container-instance/default/"
        "2dd1b186f39845a584488d2ef155c131",
    )


def test_a_stopped_task_says_how_each_container_ended() -> None:
    event = an_event(recorded("task-stopped-standalone-exit1-ec2-2019"))

    assert isinstance(event, TaskStateChange)
    assert (event.service, event.stop_code) == (None, "EssentialContainerExited")
    assert event.stopped_reason == event.reason == "Essential container in task exited"
    assert [(c.name, c.exit_code, c.last_status) for c in event.containers] == [
        ("sample_app-1_0_0", 1, "STOPPED")
    ]


def test_a_container_without_exit_code_never_ran() -> None:
    event = an_event(recorded("task-pending-nri-flex-2016"))

    assert isinstance(event, TaskStateChange)
    assert [container.exit_code for container in event.containers] == [None, None]


@pytest.mark.parametrize("code", [True, "1", 1.0, [], 2**63])
def test_an_exit_code_that_is_none_is_left_out(code: object) -> None:
    event = an_event(
        changed("task-stopped-standalone-exit1-ec2-2019", containers=[{"exitCode": code}, 7])
    )

    assert isinstance(event, TaskStateChange)
    assert [container.exit_code for container in event.containers] == [None]


def test_a_waiting_hook_says_until_when_it_waits() -> None:
    event = an_event(recorded("hook-awaiting-action-docs-2026"))

    assert isinstance(event, HookStateChange)
    assert (event.hook_type, event.lifecycle_stage) == ("PAUSE", "POST_TEST_TRAFFIC_SHIFT")
    assert event.expires_at == datetime(2026, 3, 5, 16, 4, 41, tzinfo=UTC)
    assert event.service_deployment_arn.endswith("/my-service/0EYSiB0qap8xf0N76FsbE")


def test_a_refused_run_task_says_why_and_who_asked() -> None:
    event = an_event(recorded("ct-runtask-failures-built"))

    assert isinstance(event, ApiCall)
    assert event.failure_reasons[0] == "RESOURCE:MEMORY"
    assert len(event.failure_reasons) == 2
    assert (event.caller_type, event.caller_name) == ("AssumedRole", "scheduler/nightly")


def test_a_denied_call_says_its_error() -> None:
    event = an_event(recorded("ct-runtask-denied-built"))

    assert isinstance(event, ApiCall)
    assert event.error_code == "AccessDenied"
    assert "iam:PassRole" in event.reason


@pytest.mark.parametrize(
    ("caller", "name"),
    [
        ({"type": "IAMUser", "userName": "Alice", "arn": "arn:aws:iam::1:user/Alice"}, "Alice"),
        ({"type": "AWSService", "invokedBy": "events.amazonaws.com"}, "events.amazonaws.com"),
        ({"type": "Root", "arn": "arn:aws:iam::1:root"}, "root"),
        ({"type": "FederatedUser", "arn": "arn:aws:sts::1:federated-user/bob"}, "bob"),
        ({"sessionContext": {"sessionIssuer": {"userName": "role-dev"}}}, "role-dev"),
        ({"type": "Unknown"}, ""),
        ({"userName": 7, "arn": None, "sessionContext": []}, ""),
    ],
)
def test_the_caller_is_named_for_every_kind_of_identity(caller: Json, name: str) -> None:
    event = an_event(changed("ct-runtask-envelope-minimal-botocraft", userIdentity=caller))

    assert isinstance(event, ApiCall)
    assert event.caller_name == name


# --- who began a deployment -------------------------------------------------------------------

SHIPPED = "ct-update-service-github-actor-built"
REVISION = "arn:aws:ecs:us-west-2:111122223333:task-definition/demo:44"


def a_call(body: Mapping[str, object]) -> ApiCall:
    event = an_event(body)
    assert isinstance(event, ApiCall)
    return event


def asked(**parameters: object) -> ApiCall:
    """The recorded update with other parameters and without an answer."""
    request = {"cluster": "default", "service": "servicetest"} | parameters
    return a_call(changed(SHIPPED, requestParameters=request, responseElements=None))


def answered(**primary: object) -> ApiCall:
    """The recorded update, some of its answer's PRIMARY deployment changed."""
    event = recorded(SHIPPED)
    event["detail"]["responseElements"]["service"]["deployments"][0] |= primary
    return a_call(event)


def test_an_update_names_the_deployment_that_it_began_and_who_made_it() -> None:
    call = a_call(recorded(SHIPPED))

    assert call.begins_deployment
    assert call.deployment_id == "ecs-svc/1111111111111111111"
    assert call.task_definition == REVISION
    assert call.caller == Caller(
        type="AssumedRole",
        role="deployer",
        session_name="gh-12345678901-octo-cat@octo-org=octo-repo",
        identity_provider=(
            "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com"
        ),
    )


def test_a_forced_deployment_is_of_the_revision_that_its_answer_names() -> None:
    call = a_call(recorded("ct-update-service-identity-center-built"))

    assert (call.begins_deployment, call.deployment_id) == (True, "ecs-svc/3333333333333333333")
    assert call.task_definition.endswith("task-definition/demo:43")
    assert call.caller.session_name == "mika@example.com"
    assert call.caller.role == "AWSReservedSSO_Operator_0123456789abcdef"


def test_a_new_service_has_a_deployment_though_the_record_was_cut() -> None:
    call = a_call(recorded("ct-create-service-without-answer-built"))

    assert (call.begins_deployment, call.deployment_id) == (True, None)
    assert (call.task_definition, call.caller.user_name) == ("demo", "Alice")


def test_auto_scaling_begins_no_deployment_and_is_not_credited_with_the_running_one() -> None:
    call = a_call(recorded("ct-update-service-auto-scaling-built"))

    assert (call.begins_deployment, call.deployment_id) == (False, None)
    assert call.caller.invoked_by == "ecs.application-autoscaling.amazonaws.com"


@pytest.mark.parametrize(
    ("parameters", "begins"),
    [
        ({"desiredCount": 3}, False),
        ({"forceNewDeployment": True, "desiredCount": 3}, True),
        ({"forceNewDeployment": "true"}, True),
        ({"forceNewDeployment": False}, False),
        ({"healthCheckGracePeriodSeconds": 60, "enableExecuteCommand": True}, False),
        ({"taskDefinition": None}, False),
        *(({name: {"any": 1}}, True) for name in sorted(events.DEPLOYING_PARAMETERS)),
    ],
    ids=str,
)
def test_an_update_begins_a_deployment_if_ecs_says_so_of_a_parameter(
    parameters: Json, begins: bool
) -> None:
    assert asked(**parameters).begins_deployment is begins


def test_a_refused_update_begins_nothing() -> None:
    call = a_call(changed(SHIPPED, errorCode="AccessDenied", responseElements=None))

    assert (call.begins_deployment, call.task_definition) == (False, "")


@pytest.mark.parametrize(
    "created_at",
    [
        "Mar 7, 2026 12:49:06 AM",
        "Mar 5, 2026\u202f6:03:11\u202fPM",
        1772844000,
        "2026-03-07T00:40:00Z",
    ],
)
def test_an_update_that_changes_nothing_is_answered_with_a_deployment_that_is_not_its_own(
    created_at: object,
) -> None:
    call = answered(createdAt=created_at)

    assert (call.begins_deployment, call.deployment_id) == (False, None)


@pytest.mark.parametrize("created_at", [None, "***", 7, {}, "Mar 7, 2026 12:51:05 AM"])
def test_an_answer_without_a_readable_time_is_believed(created_at: object) -> None:
    assert answered(createdAt=created_at).deployment_id == "ecs-svc/1111111111111111111"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "HIDDEN_DUE_TO_SECURITY_REASONS",
        {"service": None},
        {"service": {"deployments": ["***"]}},
        {"service": {"deployments": [{"id": "ecs-svc/2", "status": "ACTIVE"}]}},
        {"service": {"deployments": [{"id": "***", "status": "PRIMARY"}]}},
    ],
    ids=str,
)
def test_without_an_answer_that_can_be_read_the_request_says_what_was_deployed(
    answer: object,
) -> None:
    call = a_call(changed(SHIPPED, responseElements=answer))

    assert (call.begins_deployment, call.deployment_id) == (True, None)
    assert call.task_definition == REVISION


def test_of_a_record_without_its_request_the_answer_tells() -> None:
    call = a_call(changed(SHIPPED, requestParameters=None))
    neither = a_call(changed(SHIPPED, requestParameters=None, responseElements=None))

    assert call.deployment_id == "ecs-svc/1111111111111111111"
    assert not neither.begins_deployment


@pytest.mark.parametrize(
    ("identity", "caller"),
    [
        (
            {"type": "AssumedRole", "principalId": "AIDACKCEVSQ6C2EXAMPLE:account_name",
             "arn": "arn:aws:sts::123456789012:user/Mary_Major",
             "sessionContext": {"sessionIssuer": {"userName": "Mary_Major"}}},
            Caller(type="AssumedRole", role="Mary_Major", session_name="account_name"),
        ),
        (
            {"type": "IdentityCenterUser", "onBehalfOf": {"userId": "544894e8-80c1"}},
            Caller(type="IdentityCenterUser", user_name="544894e8-80c1"),
        ),
        (
            {"type": "WebIdentityUser", "userName": "repo:x/y",
             "identityProvider": "accounts.google.com"},
            Caller(type="WebIdentityUser", user_name="repo:x/y",
                   identity_provider="accounts.google.com"),
        ),
        (
            {"type": "FederatedUser", "arn": "arn:aws:sts::1:federated-user/bob"},
            Caller(type="FederatedUser", user_name="bob"),
        ),
        (
            {"type": "AWSService", "invokedBy": "codepipeline.amazonaws.com"},
            Caller(type="AWSService", invoked_by="codepipeline.amazonaws.com"),
        ),
        ({"type": "Root", "arn": "arn:aws:iam::1:root"}, Caller(type="Root")),
        ({"type": 7, "sessionContext": [], "onBehalfOf": "x"}, Caller()),
    ],
)  # fmt: skip
def test_the_caller_is_told_apart_for_every_kind_of_identity(
    identity: Json, caller: Caller
) -> None:
    assert a_call(changed(SHIPPED, userIdentity=identity)).caller == caller


def test_a_call_without_a_cluster_means_the_default_one() -> None:
    event = changed("ct-runtask-failures-built", requestParameters={"taskDefinition": "demo:1"})

    assert an_event(event).cluster_arn == "arn:aws:ecs:us-west-2:111122223333:cluster/default"


def test_a_service_created_by_name_is_the_calls_service() -> None:
    request = {"cluster": "shop", "serviceName": "checkout"}
    event = an_event(
        changed("ct-runtask-failures-built", eventName="CreateService", requestParameters=request)
    )

    assert subject(event) == "checkout"
    assert event.cluster_arn == "arn:aws:ecs:us-west-2:111122223333:cluster/shop"


# --- service and cluster ----------------------------------------------------------------------


def test_the_cluster_of_the_resource_wins_over_the_one_in_the_detail() -> None:
    event = an_event(recorded("sa-task-start-impaired-wellcome-2023"))

    assert event.cluster_arn == "arn:aws:ecs:eu-west-1:000000000000:cluster/example-cluster"


def test_a_short_service_arn_leaves_the_cluster_to_the_detail() -> None:
    name = "sa-task-start-impaired-cn-short-arn-built"

    assert an_event(recorded(name)).cluster_arn == (
        "arn:aws-cn:ecs:cn-north-1:111122223333:cluster/default"
    )
    assert an_event(recorded(name)).partition == "aws-cn"
    assert an_event(changed(name, clusterArn=None)).cluster_arn is None


def test_account_and_region_come_from_the_envelope_alone() -> None:
    event = changed("sa-task-start-impaired-docs", account="999999999999")
    event["resources"] = ["arn:aws-cn:ecs:cn-north-1:999999999999:service/default/servicetest"]

    read = an_event(event)

    assert (read.account, read.region, read.partition) == ("111122223333", "us-west-2", "aws")
    assert read.cluster_arn == "arn:aws:ecs:us-west-2:111122223333:cluster/default"


@pytest.mark.parametrize(
    "resources",
    [None, [], [None], [7], "text", {}, ["servicetest"], ["arn:aws:ecs:us-west-2:1:cluster/c"]],
)
def test_a_service_action_that_names_no_service_is_malformed(resources: object) -> None:
    event = recorded("sa-task-start-impaired-docs") | {"resources": resources}

    with pytest.raises(MalformedEvent, match="resources"):
        parse(event)


@pytest.mark.parametrize("gone", ["serviceArn", "serviceDeploymentArn", "clusterArn"])
def test_a_hook_is_placed_by_any_of_its_arns(gone: str) -> None:
    name = "hook-awaiting-action-without-resources-built"
    event = an_event(changed(name, **{gone: None}))

    assert (subject(event), cluster_name(event.cluster_arn or "")) == ("my-service", "my-cluster")


def test_a_hook_that_names_no_service_is_malformed() -> None:
    name = "hook-awaiting-action-without-resources-built"

    with pytest.raises(MalformedEvent):
        parse(changed(name, serviceArn=None, serviceDeploymentArn=None))


def test_a_task_without_an_arn_is_malformed_and_one_in_the_resources_is_enough() -> None:
    event = changed("task-running-fargate-docs-2020", taskArn=None)

    assert an_event(event).cluster_arn == (
        "arn:aws:ecs:us-west-2:111122223333:cluster/FargateCluster"
    )
    with pytest.raises(MalformedEvent, match="task"):
        parse(event | {"resources": []})


def test_a_daemon_without_a_name_is_malformed() -> None:
    event = changed(
        "daemon-action-task-creation-failed-docs-2026", daemonArn=None, daemonRevisionArn=7
    )

    with pytest.raises(MalformedEvent, match="daemon"):
        parse(event)


# --- identity ---------------------------------------------------------------------------------


def test_a_deployment_event_that_comes_as_a_service_action_too_is_the_same_event() -> None:
    copy = an_event(recorded("sa-deployment-failed-built"))
    original = an_event(recorded("dep-failed-with-cluster-built"))

    assert isinstance(copy, DeploymentStateChange)
    assert copy.identity == original.identity
    assert copy.id != original.id


def test_a_copy_without_a_deployment_id_takes_it_from_its_reason() -> None:
    event = an_event(recorded("sa-deployment-in-progress-no-id-built"))

    assert isinstance(event, DeploymentStateChange)
    assert event.deployment_id == "ecs-svc/1702860048778063437"


def test_the_reason_of_a_failed_deployment_never_names_it() -> None:
    event = an_event(
        changed(
            "dep-failed-circuit-breaker-docs",
            deploymentId=None,
            reason="rolling back to ecs-svc/456",
        )
    )

    assert isinstance(event, DeploymentStateChange)
    assert event.deployment_id is None


@pytest.mark.parametrize(
    "file",
    [
        "dep-failed-circuit-breaker-docs",
        "sa-task-start-impaired-docs",
        "task-running-fargate-docs-2020",
        "hook-awaiting-action-docs-2026",
        "daemon-action-task-failed-to-run-docs-2026",
        "daemon-deployment-pending-docs-2026",
        "codedeploy-failure-built",
        "ct-runtask-failures-built",
        "unknown-detail-type-built",
    ],
)
def test_a_second_delivery_under_another_envelope_id_is_the_same_event(file: str) -> None:
    again = recorded(file) | {"id": "another", "time": "2026-03-05T18:00:00Z"}

    assert an_event(again).identity == an_event(recorded(file)).identity


@pytest.mark.parametrize(
    ("file", "detail"),
    [
        ("dep-failed-circuit-breaker-docs", {"deploymentId": "ecs-svc/124"}),
        ("dep-failed-circuit-breaker-docs", {"eventName": "SERVICE_DEPLOYMENT_COMPLETED"}),
        ("dep-failed-circuit-breaker-docs", {"updatedAt": "2020-05-23T11:11:12Z"}),
        ("sa-task-start-impaired-docs", {"createdAt": "2019-11-19T19:55:38.726Z"}),
        ("sa-task-start-impaired-docs", {"eventName": "SERVICE_HEALTH_UNKNOWN"}),
        ("task-running-fargate-docs-2020", {"version": 5}),
        ("hook-awaiting-action-docs-2026", {"hookId": "another"}),
        ("hook-awaiting-action-docs-2026", {"lifecycleStage": "PRE_SCALE_UP"}),
        ("daemon-deployment-pending-docs-2026", {"eventName": "DAEMON_DEPLOYMENT_STOPPED"}),
        ("codedeploy-failure-built", {"deploymentId": "d-987654321"}),
        ("ct-runtask-failures-built", {"eventID": "another"}),
    ],
)
def test_what_differs_in_what_tells_events_apart_is_another_event(file: str, detail: Json) -> None:
    assert an_event(changed(file, **detail)).identity != an_event(recorded(file)).identity


def test_events_without_a_time_of_their_own_are_told_apart_by_the_envelope() -> None:
    first = changed("sa-task-start-impaired-docs", createdAt=None)
    second = first | {"id": "another"}

    assert an_event(first).identity == an_event(first).identity
    assert an_event(first).identity != an_event(second).identity
    assert an_event(first).identity != first["id"]


def test_a_task_without_a_version_is_told_apart_by_its_statuses() -> None:
    running = changed("task-running-fargate-docs-2020", version=None)
    stopping = changed("task-running-fargate-docs-2020", version="4", desiredStatus="STOPPED")

    assert an_event(running).identity != an_event(stopping).identity


def test_a_replayed_event_says_so_and_is_the_same_event() -> None:
    replayed = an_event(recorded("dep-failed-replayed-built"))
    original = an_event(recorded("dep-failed-with-cluster-built"))

    assert (replayed.replayed, original.replayed) == (True, False)
    assert replayed.identity == original.identity


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2020-05-23T11:11:11Z", datetime(2020, 5, 23, 11, 11, 11, tzinfo=UTC)),
        ("2020-05-23T11:11:11.5Z", datetime(2020, 5, 23, 11, 11, 11, 500_000, tzinfo=UTC)),
        (
            "2026-03-05T15:54:41.618059641Z",
            datetime(2026, 3, 5, 15, 54, 41, 618_059, tzinfo=UTC),
        ),
        ("2020-05-23T13:11:11+02:00", datetime(2020, 5, 23, 11, 11, 11, tzinfo=UTC)),
        ("2020-05-23T11:11:11", datetime(2020, 5, 23, 11, 11, 11, tzinfo=UTC)),
        ("2020-05-23 11:11:11", datetime(2020, 5, 23, 11, 11, 11, tzinfo=UTC)),
        (1_590_232_271, datetime(2020, 5, 23, 11, 11, 11, tzinfo=UTC)),
        (1_590_232_271.25, datetime(2020, 5, 23, 11, 11, 11, 250_000, tzinfo=UTC)),
        (1_590_232_271_250, datetime(2020, 5, 23, 11, 11, 11, 250_000, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_aws_writes_it(written: object, meant: datetime) -> None:
    read = an_event(changed("dep-failed-circuit-breaker-docs", updatedAt=written)).occurred_at

    assert read == meant
    assert read.utcoffset() == UTC.utcoffset(None)


@pytest.mark.parametrize(
    "written",
    ["yesterday", "", "yyyy-mm-ddThh:mm:ssZ", "2020-13-45T11:11:11Z", "0001-01-01T00:00:00+14:00",
     "9999-12-31T23:59:59-14:00", "2020-05-23T11:11:11+99:99", "\u0662020-05-23T11:11:11Z", True,
     [], {}, -1, 0, 1e308, float("nan"), float("inf"), 10**400],
)  # fmt: skip
def test_a_time_that_cannot_be_read_falls_back_to_the_envelopes(written: object) -> None:
    event = an_event(changed("dep-failed-circuit-breaker-docs", updatedAt=written))

    assert event.occurred_at == event.sent_at == datetime(2020, 5, 23, 12, 31, 14, tzinfo=UTC)


# --- what is not ours -------------------------------------------------------------------------


def test_an_event_of_another_source_is_not_ours_however_it_looks() -> None:
    event = recorded("dep-failed-circuit-breaker-docs") | {"source": "com.example"}

    assert parse(event) == NotOurs("other source")


def test_other_calls_and_sign_ins_are_not_ours() -> None:
    call = changed("ct-runtask-failures-built", eventName="DescribeTasks")
    console = recorded("ct-runtask-failures-built") | {
        "detail-type": "AWS Console Action via CloudTrail"
    }

    assert parse(call) == parse(console) == NotOurs("other API call")


def test_an_unknown_detail_type_is_told_when_it_is_no_info_and_names_a_service() -> None:
    event = an_event(changed("unknown-detail-type-built", eventName=None))

    assert isinstance(event, ServiceAction)
    assert event.name == "ECS Service Deployment State Change"
    assert is_failure(event)


def test_an_unknown_detail_type_that_is_info_or_names_no_service_is_not_ours() -> None:
    name = "unknown-detail-type-built"
    nameless = changed(name, serviceArn=None) | {"resources": []}

    assert parse(changed(name, eventType="INFO")) == NotOurs("unknown INFO event")
    assert parse(nameless) == NotOurs("unknown event without a service")


def call_by(role: str) -> Json:
    caller = {"type": "AssumedRole", "arn": f"arn:aws:sts::111122223333:assumed-role/{role}/x"}
    return changed("ct-runtask-failures-built", userIdentity=caller)


@pytest.mark.parametrize(
    ("stack", "role"),
    [
        ("ecs-watch", "ecs-watch-OnEventsRole-1A2B3C4D5E6F7"),
        ("ecs-watch", "ecs-watch-OnTickRole-sCRgDrfn5BP9"),
        ("a-rather-long-name-for-a-stack", "a-rather-long-name-for-a-OnEventsRole-1A2B3C4D5E6F7"),
    ],
)
def test_what_our_own_stack_calls_is_not_ours(stack: str, role: str) -> None:
    assert parse(call_by(role), stack_name=stack) == NotOurs("own stack")
    assert isinstance(parse(call_by(role)), ApiCall)


@pytest.mark.parametrize("role", ["prod-web-deployer", "prod", "production-X-1A2B3C4D5E6F7"])
def test_a_role_that_merely_begins_like_the_stack_is_heard(role: str) -> None:
    stack = "prod" if role != "prod" else "prod-watch"

    assert isinstance(parse(call_by(role), stack_name=stack), ApiCall)


def test_the_deployment_of_our_own_functions_is_not_ours() -> None:
    application = "ecs-watch-ServerlessDeploymentApplication-1A2B3C4D5E6F7"
    event = changed("codedeploy-failure-built", application=application)

    assert parse(event, stack_name="ecs-watch") == NotOurs("own stack")
    assert is_failure(an_event(event, stack_name="checkout"))


# --- what is no event -------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["source", "detail-type", "account", "region", "time", "id"])
@pytest.mark.parametrize("value", [None, "", " ", 7, [], {}])
def test_an_envelope_without_a_field_it_needs_is_malformed_and_says_which(
    field: str, value: object
) -> None:
    event = recorded("dep-failed-circuit-breaker-docs")

    with pytest.raises(MalformedEvent, match=f"^{field}: "):
        parse(event | {field: value})
    del event[field]
    with pytest.raises(MalformedEvent, match=f"^{field}: expected a t.*, found nothing"):
        parse(event)


@pytest.mark.parametrize("detail", [None, [], "text", 7])
def test_an_envelope_whose_detail_is_no_object_is_malformed(detail: object) -> None:
    with pytest.raises(MalformedEvent, match=r"^detail: expected an object"):
        parse(recorded("dep-failed-circuit-breaker-docs") | {"detail": detail})


@pytest.mark.parametrize("account", ["1 2", "1:2", "1/2", "ü", "1" * 21])
def test_an_account_that_cannot_be_one_is_malformed(account: str) -> None:
    with pytest.raises(MalformedEvent, match=r"^account: "):
        parse(recorded("dep-failed-circuit-breaker-docs") | {"account": account})


@pytest.mark.parametrize("region", ["evil.example/", "EU", "eu west", "a@b", "x" * 41, "-"])
def test_a_region_that_cannot_be_part_of_a_hosts_name_is_malformed(region: str) -> None:
    with pytest.raises(MalformedEvent, match=r"^region: "):
        parse(recorded("dep-failed-circuit-breaker-docs") | {"region": region})


@pytest.mark.parametrize(
    "body",
    ["", "{", "null", "7", "[]", '"text"', "{}", b"\xff\xfe\xfa", "[" * 100_000, "\ud800",
     '{"a":' * 100_000, "9" * 5_000, '{"source": NaN}', "{'source': 'aws.ecs'}"],
    ids=range(14),
)  # fmt: skip
def test_a_body_that_is_no_event_is_malformed(body: str | bytes) -> None:
    with pytest.raises(MalformedEvent):
        parse(body)


def test_what_is_malformed_is_not_quoted() -> None:
    with pytest.raises(MalformedEvent) as error:
        parse('{"source": "aws.ecs", "token": "xoxb-secret" ')

    assert "xoxb" not in str(error.value)


def test_numbers_and_names_that_json_allows_and_others_do_not_change_nothing() -> None:
    event = changed("task-stopped-standalone-exit1-ec2-2019", odd=1e400, updatedAt=float("nan"))
    text = json.dumps(event).replace('"version": 3', f'"version": {10**400}')
    doubled = text.replace('"source": "aws.ecs"', '"source": "x", "source": "aws.ecs"')

    read = an_event(doubled)

    assert "Infinity" in text
    assert "NaN" in text
    assert isinstance(read, TaskStateChange)
    assert read.version is None


def test_half_a_surrogate_pair_can_be_written_later() -> None:
    event = changed("dep-failed-circuit-breaker-docs", reason="a \ud83d b")

    assert an_event(json.dumps(event)).reason == "a \N{REPLACEMENT CHARACTER} b"
    assert an_event(event).reason.encode()


def test_a_body_larger_than_an_event_is_malformed_and_says_its_size() -> None:
    body = json.dumps(changed("dep-failed-circuit-breaker-docs", reason="x" * 1_200_000))

    with pytest.raises(MalformedEvent, match=str(len(body))):
        parse(body)


def test_an_event_of_a_megabyte_is_read_and_its_texts_are_cut() -> None:
    reason = "ü" * 500_000
    event = an_event(json.dumps(changed("dep-failed-circuit-breaker-docs", reason=reason),
                                ensure_ascii=False))  # fmt: skip

    assert event.reason == "ü" * 4_096
    assert event.name == "SERVICE_DEPLOYMENT_FAILED"


def test_a_task_with_a_thousand_containers_keeps_some() -> None:
    container = {"name": "x" * 5_000, "reason": "y" * 50_000}
    event = an_event(changed("task-running-fargate-docs-2020", containers=[container] * 1_000))

    assert isinstance(event, TaskStateChange)
    assert len(event.containers) == 50
    assert len(event.containers[0].name) == 256
    assert len(event.containers[0].reason) == 2_048


# --- bare records of CloudTrail ---------------------------------------------------------------


def test_a_bare_record_of_cloudtrail_can_be_wrapped_as_eventbridge_would() -> None:
    record = recorded("ct-runtask-failures-built")["detail"]
    envelope = as_envelope(record)

    assert envelope
    event = an_event(envelope)
    assert isinstance(event, ApiCall)
    assert event.identity == an_event(recorded("ct-runtask-failures-built")).identity


@pytest.mark.parametrize(
    "file", ["ct-create-cluster-docs", "ct-put-account-setting-default-us-gov-docs"]
)
def test_the_recorded_bare_records_are_calls_we_do_not_tell_of(file: str) -> None:
    envelope = as_envelope(recorded(file))

    assert envelope
    assert parse(envelope) == NotOurs("other API call")


@pytest.mark.parametrize("path", sorted(EVENTS.rglob("*.json")), ids=lambda p: p.stem)
def test_nothing_but_a_record_of_cloudtrail_is_wrapped(path: Path) -> None:
    value = json.loads(path.read_text())
    bare = path.stem in ("ct-create-cluster-docs", "ct-put-account-setting-default-us-gov-docs")

    if isinstance(value, dict):
        assert (as_envelope(value) is not None) is bare


# --- whatever may come ------------------------------------------------------------------------

QUICK = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
arns = st.builds(
    "arn:aws:ecs:{}:{}:{}/{}".format,
    texts,
    texts,
    st.sampled_from(["service", "task", "cluster", "daemon", "service-deployment"]),
    st.lists(texts, max_size=4).map("/".join),
)
readable = [file for file, verdict, *_ in ROWS if verdict in ("failure", "no failure")]


def places(value: object, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path to every field of the value."""
    match value:
        case dict():
            items: list[tuple[str | int, object]] = list(value.items())
        case list():
            items = list(enumerate(value))
        case _:
            items = []
    return [path for key, inner in items for path in [(*above, key), *places(inner, (*above, key))]]


def must_hold(event: Event | NotOurs) -> None:
    if isinstance(event, NotOurs):
        assert event.why
        return
    assert event.identity
    assert event.identity != event.id
    assert event.account
    assert event.region
    assert event.occurred_at.utcoffset() == event.sent_at.utcoffset() == UTC.utcoffset(None)
    repr(event).encode()
    "".join([event.identity, event.name, event.type, event.reason, subject(event) or ""]).encode()
    if event.cluster_arn is not None:
        cluster = parse_arn(event.cluster_arn)
        assert cluster
        assert cluster.kind == "cluster"
        assert (cluster.account, cluster.region) == (event.account, event.region)
    if isinstance(event, DeploymentStateChange | ServiceAction | HookStateChange):
        assert event.service
    if isinstance(event, DaemonServiceAction | DaemonDeploymentStateChange):
        assert event.daemon
    if isinstance(event, TaskStateChange):
        assert parse_arn(event.task_arn)
    assert is_failure(event) in (True, False)


def read_or_refuse(body: str | bytes | Mapping[str, object]) -> None:
    try:
        event = parse(body, stack_name="ecs-watch")
    except MalformedEvent as error:
        str(error).encode()
        return
    must_hold(event)


@QUICK
@given(anything)
def test_any_json_is_an_event_or_malformed(value: object) -> None:
    read_or_refuse(json.dumps(value))


@QUICK
@given(texts | st.binary(max_size=60))
def test_any_text_or_bytes_are_an_event_or_malformed(body: str | bytes) -> None:
    read_or_refuse(body)


@QUICK
@given(
    source=st.sampled_from([events.ECS, events.CODE_DEPLOY]),
    detail_type=st.sampled_from([
        events.SERVICE_ACTION, events.DEPLOYMENT_STATE_CHANGE, events.TASK_STATE_CHANGE,
        events.HOOK_STATE_CHANGE, events.DAEMON_SERVICE_ACTION, events.API_CALL,
        events.DAEMON_DEPLOYMENT_STATE_CHANGE, events.CODE_DEPLOY_STATE_CHANGE, "ECS New",
    ]),
    resources=st.lists(arns | anything, max_size=2) | anything,
    detail=st.dictionaries(
        st.sampled_from([
            "eventName", "eventType", "reason", "clusterArn", "createdAt", "updatedAt", "taskArn",
            "deploymentId", "serviceArn", "serviceDeploymentArn", "daemonArn", "containers",
            "group", "version", "state", "application", "requestParameters", "userIdentity",
        ]),
        arns | anything,
    ),
)  # fmt: skip
def test_any_content_of_a_sound_envelope_is_an_event_or_malformed(
    source: str, detail_type: str, resources: object, detail: Json
) -> None:
    event = recorded("dep-failed-circuit-breaker-docs")
    event |= {"source": source, "detail-type": detail_type}
    read_or_refuse(event | {"resources": resources, "detail": detail})


@QUICK
@given(st.sampled_from(readable), st.booleans(), arns | anything, st.data())
def test_a_real_event_with_any_field_lost_or_replaced_is_an_event_or_malformed(
    file: str, lost: bool, value: object, data: st.DataObject
) -> None:
    event: Any = recorded(file)
    *above, last = data.draw(st.sampled_from(places(event)))
    holder = event
    for key in above:
        holder = holder[key]
    if lost:
        del holder[last]
    else:
        holder[last] = value

    read_or_refuse(event)
    read_or_refuse(json.dumps(event))


@QUICK
@given(st.dictionaries(st.sampled_from(["eventVersion", "eventSource", "eventName"]), anything))
def test_any_object_is_wrapped_or_left(value: Json) -> None:
    envelope = as_envelope(value)

    if envelope is not None:
        read_or_refuse(envelope)


def test_how_a_standalone_task_was_started_is_read_without_any_value_of_a_variable() -> None:
    event = an_event(recorded("task-stopped-standalone-exit1-ec2-2019"))

    assert isinstance(event, TaskStateChange)
    assert event.launch is not None
    assert event.launch.launch_type == "EC2"
    (override,) = event.launch.overrides
    assert (override.name, override.environment) == ("sample_app-1_0_0", ("S3_BUCKET",))
    assert "bucket-name-xxx" not in repr(event)


@pytest.mark.parametrize("odd", [None, [], 7, "x", [None], [{"name": 7, "command": "x"}], {}])
def test_whatever_stands_for_overrides_a_task_is_read(odd: object) -> None:
    strange = {"containerOverrides": odd}
    body = changed("task-stopped-standalone-exit1-ec2-2019", overrides=strange, attachments=odd)
    event = an_event(body)

    assert isinstance(event, TaskStateChange)
    assert event.launch is not None
    assert event.launch.overrides == ()
