"""Which event goes to the watcher, and by which rule: the patterns of template.yaml, judged by a
matcher that agrees with AWS's engine. A new file in events/ gets its place in RECORDED.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from notifier import events
from notifier.model import ApiCall
from sandbox.transform import read_template
from tests.simulator import bus

ROOT = Path(__file__).parent.parent
SANDBOX_PYTHON = ROOT / ".venv-sandbox" / "bin" / "python"

RULES = {
    name: resource["Properties"]["EventPattern"]
    for name, resource in read_template()["Resources"].items()
    if resource["Type"] == "AWS::Events::Rule" and "EventPattern" in resource["Properties"]
}

RECORDED = {
    "DeploymentFailures": """
        dep-failed-alarm-built
        dep-failed-circuit-breaker-docs
        dep-failed-replayed-built
        dep-failed-us-gov-built
        dep-failed-with-cluster-built
        sa-daemon-placement-constraint-violated-built
        sa-deployment-failed-built
        sa-ecs-operation-throttled-built
        sa-placement-failure-capacity-provider-empty-built
        sa-placement-failure-resource-cpu-docs
        sa-placement-failure-resource-fargate-docs
        sa-service-discovery-instance-unhealthy-built
        sa-service-discovery-operation-throttled-built
        sa-service-health-unknown-built
        sa-task-configuration-failure-built
        sa-task-start-impaired-cn-short-arn-built
        sa-task-start-impaired-docs
        sa-task-start-impaired-wellcome-2023
        sa-unknown-info-name-built
        sa-unknown-name-built
        sa-vpc-lattice-target-unhealthy-built
        sa-without-event-name-built
        try-me-built
    """,
    "DeploymentProgress": """
        dep-completed-d2d-2023
        dep-completed-docs
        dep-in-progress-initial-docs
        dep-in-progress-rollback-docs
        sa-deployment-in-progress-no-id-built
        sa-steady-state-arabold-2020-masked
        sa-steady-state-docs
    """,
    "Deployers": """
        ct-create-service-without-answer-built
        ct-update-service-github-actor-built
        ct-update-service-github-oidc-built
        ct-update-service-identity-center-built
    """,
    "TaskFailures": """
        ct-runtask-denied-built
        ct-runtask-failures-built
        task-stopped-essential-exited-fivexl
        task-stopped-essential-exited-maas-2018
        task-stopped-standalone-exit1-ec2-2019
    """,
    "MemberHeartbeats": """
        scheduled-heartbeat-built
    """,
    "OtherFailures": """
        codedeploy-failure-built
        codedeploy-stop-built
        daemon-action-task-creation-failed-docs-2026
        daemon-action-task-failed-to-run-docs-2026
        daemon-deployment-rollback-failed-built
        daemon-deployment-rollback-in-progress-built
        daemon-deployment-rollback-successful-built
        daemon-deployment-stop-requested-built
        daemon-deployment-stopped-built
        hook-awaiting-action-docs-2026
        hook-awaiting-action-without-resources-built
        hook-failed-built
        hook-timed-out-built
        runbook-failed-built
        task-retry-given-up-built
        task-retry-waiting-built
    """,
    "": """
        ci-health-agent-connectivity-docs-2026
        ci-health-daemon-impaired-docs-2026
        ci-health-runtime-ok-docs-2026
        ci-state-change-docs-2016
        ci-state-change-lambda-dotnet
        ci-state-change-lambda-go
        codedeploy-success-docs
        ct-create-cluster-docs
        ct-put-account-setting-default-us-gov-docs
        ct-runtask-envelope-minimal-botocraft
        ct-update-service-auto-scaling-built
        ct-update-service-scheduler-role-trimmed
        ct-useridentity-assumed-role-docs
        ct-useridentity-iam-user-docs
        custom-lambda-deployment-starting-defra
        daemon-deployment-in-progress-built
        daemon-deployment-pending-docs-2026
        daemon-deployment-successful-built
        ec2-spot-interruption-warning-docs
        hook-in-progress-built
        hook-succeeded-built
        sa-capacity-provider-steady-state-docs
        sa-desired-count-updated-built
        sa-tasks-stopped-built
        sa-taskset-steady-state-built
        task-pending-arabold-2020-masked
        task-pending-nri-flex-2016
        task-provisioning-autoptic-2026
        task-running-arkime-2023
        task-running-ec2-capacity-provider-docs-2025
        task-running-ec2-docs-2016-old-arn
        task-running-fargate-docs-2020
        task-running-multi-container-defra-2023
        task-spot-termination-notice-docs-2023
        task-state-change-lambda-dotnet
        task-stopped-scaling-activity-exit0-rtcw-2021
        task-stopped-user-initiated-cwlogs-2020
        unknown-detail-type-built
    """,
}
EXPECTED = {name: {rule} - {""} for rule, names in RECORDED.items() for name in names.split()}
EVENTS = {path.stem: json.loads(path.read_text()) for path in (ROOT / "events").glob("*.json")}


def ecs(detail_type: str, **detail: object) -> dict[str, object]:
    return {
        "version": "0",
        "id": "1",
        "detail-type": detail_type,
        "source": "aws.ecs",
        "account": "123456789012",
        "time": "2026-11-23T08:00:00Z",
        "region": "eu-west-1",
        "resources": ["arn:aws:ecs:eu-west-1:123456789012:service/prod/web"],
        "detail": detail,
    }


def schedule(rule: str, **envelope: object) -> dict[str, object]:
    """What a schedule rule of a member sends, and its account and region in front of it."""
    arn = f"arn:aws:events:us-east-1:210987654321:rule/{rule}"
    member: dict[str, object] = {"account": "210987654321", "region": "us-east-1"}
    about = {"source": "aws.events", "detail-type": "Scheduled Event", "resources": [arn]}
    return ecs("") | member | about | envelope


CALL = "AWS API Call via CloudTrail"


def stop(**detail: object) -> dict[str, object]:
    """The last event of a task; its one container's exit code where it is given."""
    code = {"exitCode": detail.pop("exitCode")} if "exitCode" in detail else {}
    shown = {"lastStatus": "STOPPED", "containers": [{"name": "app", **code}]}
    return ecs(
        "ECS Task State Change", **{**shown, "stopCode": "EssentialContainerExited"} | detail
    )


def updates(**parameters: object) -> dict[str, object]:
    request = {"cluster": "prod", "service": "web"} | parameters
    return ecs(
        CALL,
        eventSource="ecs.amazonaws.com",
        eventName="UpdateService",
        requestParameters=request,
    )


def stopped(group: str | None = "service:web", *codes: int | None, **more: object) -> Any:
    """A task that stopped; of each container its exit code, none where it never ran."""
    containers = [
        {"name": f"c{n}"} if code is None else {"name": f"c{n}", "exitCode": code}
        for n, code in enumerate(codes)
    ]
    grouped = {"group": group} if group is not None else {}
    ended: dict[str, Any] = {
        "lastStatus": "STOPPED",
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "containers": containers,
    }
    return ecs("ECS Task State Change", **{**ended, **grouped, **more})


JOB, BY_SCHEDULER, NEVER = "family:job", "ServiceSchedulerInitiated", "TaskFailedToStart"
SCALED = "Scaling activity initiated by (deployment ecs-svc/1)"
SICK = "Task failed ELB health checks in (target-group web)"
SPOT = "Your Spot Task was interrupted."

# What an update may ask for that begins a deployment, with a value of each as ECS takes it.
DEPLOYING: dict[str, object] = {
    "taskDefinition": "web:42",
    "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-1", "subnet-2"]}},
    "platformVersion": "1.4.0",
    "loadBalancers": [{"targetGroupArn": "arn", "containerName": "app", "containerPort": 80}],
    "serviceRegistries": [{"registryArn": "arn", "port": 80}],
    "serviceConnectConfiguration": {"enabled": False},
    "volumeConfigurations": [{"name": "data", "managedEBSVolume": {"roleArn": "arn"}}],
    "vpcLatticeConfigurations": [{"roleArn": "arn", "targetGroupArn": "arn", "portName": "http"}],
}

ACTION, STATE = "ECS Service Action", "ECS Deployment State Change"
DAEMON, HOOK = "ECS Daemon Deployment State Change", "ECS Hook State Change"
FAILURES, PROGRESS, OTHER = {"DeploymentFailures"}, {"DeploymentProgress"}, {"OtherFailures"}
DEPLOYERS, MEMBERS, TASKS = {"Deployers"}, {"MemberHeartbeats"}, {"TaskFailures"}
PASSED_ON_AS_PROGRESS = {
    "SERVICE_DEPLOYMENT_IN_PROGRESS",
    "SERVICE_DEPLOYMENT_COMPLETED",
    "SERVICE_STEADY_STATE",
}

CASES: dict[str, tuple[dict[str, object], set[str]]] = {
    "a service action without a name": (ecs(ACTION), FAILURES),
    "a deployment event without a name": (ecs(STATE), FAILURES),
    "a name that is null": (ecs(ACTION, eventName=None), FAILURES),
    "a service action nobody knows": (ecs(ACTION, eventName="SERVICE_ON_FIRE"), FAILURES),
    "a deployment name nobody knows": (ecs(STATE, eventName="SERVICE_DEPLOYMENT_LOST"), FAILURES),
    "a healthy name in lower case": (ecs(ACTION, eventName="tasks_stopped"), FAILURES),
    "a daemon deployment without a name": (ecs(DAEMON), OTHER),
    "a daemon deployment name nobody knows": (ecs(DAEMON, eventName="DAEMON_LOST"), OTHER),
    "a daemon action nobody knows": (ecs("ECS Daemon Service Action", eventName="NEW"), OTHER),
    "a failure somebody else made up": (
        ecs(STATE, eventName="SERVICE_DEPLOYMENT_FAILED") | {"source": "my.ecs"},
        set(),
    ),
    "a change of the desired count": (updates(desiredCount=3), set()),
    "a change that begins no deployment": (
        updates(healthCheckGracePeriodSeconds=60, forceNewDeployment=False),
        set(),
    ),
    "a forced deployment": (updates(desiredCount=3, forceNewDeployment=True), DEPLOYERS),
    "a forced deployment in text": (updates(forceNewDeployment="true"), DEPLOYERS),
    **{
        f"an update of {name}": (updates(**{name: value}), DEPLOYERS)
        for name, value in DEPLOYING.items()
    },
    "a refused update": (
        updates(taskDefinition="web:42")
        | {"detail": updates(taskDefinition="web:42")["detail"] | {"errorCode": "AccessDenied"}},  # type: ignore[operator]
        set(),
    ),
    "a new service": (
        ecs(CALL, eventSource="ecs.amazonaws.com", eventName="CreateService"),
        DEPLOYERS,
    ),
    "a task that somebody ran": (
        ecs(CALL, eventSource="ecs.amazonaws.com", eventName="RunTask"),
        set(),
    ),
    "a task that somebody could not run": (
        ecs(
            CALL,
            eventSource="ecs.amazonaws.com",
            eventName="RunTask",
            responseElements={"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]},
        ),
        TASKS,
    ),
    "a task that somebody ran, with an empty list of failures": (
        ecs(
            CALL,
            eventSource="ecs.amazonaws.com",
            eventName="RunTask",
            responseElements={"tasks": [{}], "failures": []},
        ),
        set(),
    ),
    "a task that somebody may not run": (
        ecs(
            CALL,
            eventSource="ecs.amazonaws.com",
            eventName="RunTask",
            errorCode="AccessDenied",
            responseElements=None,
        ),
        TASKS,
    ),
    "a failed start that somebody else made up": (
        ecs(CALL, eventSource="ecs.amazonaws.com", eventName="RunTask", errorCode="AccessDenied")
        | {"source": "my.ecs"},
        set(),
    ),
    "a job that failed": (stop(group="family:job", exitCode=1), TASKS),
    "a job that did its work": (stop(group="family:job", exitCode=0), TASKS),
    "a job that says nothing of its group": (stop(exitCode=1), TASKS),
    "a job that a person stopped": (stop(group="family:job", stopCode="UserInitiated"), set()),
    "a job that Spot took away": (stop(group="family:job", stopCode="SpotInterruption"), TASKS),
    "a job that never ran": (stop(group="family:job", stopCode="TaskFailedToStart"), TASKS),
    "a job that is stopping": (stop(group="family:job", lastStatus="STOPPING"), set()),
    "a service's task that died": (stop(group="service:web", exitCode=1), TASKS),
    "a service's task that a scale-in stopped": (
        stop(group="service:web", stoppedReason="Scaling activity initiated by (deployment x)"),
        set(),
    ),
    "a call that somebody else made up": (
        updates(taskDefinition="web:42") | {"source": "my.ecs"},
        set(),
    ),
    "a member's heartbeat": (schedule("StackSet-ecs-watch-1a2b-Heartbeat-X"), MEMBERS),
    "a member's heartbeat in China": (
        schedule("x", resources=["arn:aws-cn:events:cn-north-1:210987654321:rule/a-Heartbeat-X"]),
        MEMBERS,
    ),
    "another schedule of a member": (schedule("nightly-backup"), set()),
    "a heartbeat somebody made up": (schedule("my-Heartbeat", source="my.events"), set()),
    "a hook somebody else made up": (ecs(HOOK, eventName="HOOK_FAILED") | {"source": "x"}, set()),
    "a service's task that exited with 1": (stopped("service:web", 1), TASKS),
    "a service's task that exited with 0": (stopped("service:web", 0), TASKS),
    "a service's task that never ran": (stopped("service:web", None, stopCode=NEVER), TASKS),
    "a service's task without stop code, as before 2018": (
        ecs("ECS Task State Change", group="service:web", lastStatus="STOPPED"),
        TASKS,
    ),
    "a task that fails its health checks": (
        stopped("service:web", 143, stopCode=BY_SCHEDULER, stoppedReason=SICK),
        TASKS,
    ),
    "a task whose host is not well": (
        stopped("service:web", 137, stopCode="InfrastructureHealth"),
        TASKS,
    ),
    "a scale-in": (
        stopped("service:web", 137, stopCode=BY_SCHEDULER, stoppedReason=SCALED),
        set(),
    ),
    "a service's task that somebody stopped": (
        stopped("service:web", 0, stopCode="UserInitiated"),
        set(),
    ),
    "a service's task that Spot took back": (
        stopped("service:web", 137, stopCode="SpotInterruption", stoppedReason=SPOT),
        set(),
    ),
    "a task that is about to stop": (
        stopped("service:web", 1, lastStatus="DEPROVISIONING"),
        set(),
    ),
    "a task that runs": (stopped("service:web", lastStatus="RUNNING"), set()),
    "a job that ended well": (stopped(JOB, 0), TASKS),
    "a job whose side-car was ended with it": (stopped(JOB, 0, 137), TASKS),
    "a job that exited with 3": (stopped(JOB, 3), TASKS),
    "a job of no group": (stopped(None, 3), TASKS),
    "a job that never started": (stopped(JOB, None, stopCode=NEVER), TASKS),
    "a job that Spot took back": (stopped(JOB, 137, stopCode="SpotInterruption"), TASKS),
    "a job whose container says why it never ran": (
        stopped(JOB, 0, containers=[{"name": "app", "reason": "CannotStartContainerError"}]),
        TASKS,
    ),
    "a job that somebody stopped, and that ended well": (
        stopped(JOB, 0, stopCode="UserInitiated"),
        set(),
    ),
    **{
        f"{name} as {kind}": (ecs(kind, eventName=name), FAILURES)
        for kind in (ACTION, STATE)
        for name in events.FAILURE_NAMES
    },
    **{
        f"{name} as {kind}": (
            ecs(kind, eventName=name),
            PROGRESS if name in PASSED_ON_AS_PROGRESS else set(),
        )
        for kind in (ACTION, STATE)
        for name in events.HEALTHY_NAMES
    },
}

# What AWS's engine does where others err, so that the judge is judged too.
# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html
JUDGE: dict[str, tuple[object, object, bool]] = {
    "anything-but does not match an absent field": ([{"anything-but": ["a"]}], {}, False),
    "anything-but matches null": ([{"anything-but": ["a"]}], {"x": None}, True),
    "exists false matches an absent field": ([{"exists": False}], {}, True),
    "values in one list are alternatives": (["a", {"exists": False}], {"x": "a"}, True),
    "one element of a list is enough": ([{"anything-but": ["a"]}], {"x": ["a", "b"]}, True),
    "True is not 1": ([1], {"x": True}, False),
}
INVALID = {
    "a bare value": {"source": "aws.ecs"},
    "an operator nobody knows": {"source": [{"regex": "aws"}]},
    "$or with one alternative": {"$or": [{"source": ["aws.ecs"]}]},
}


@pytest.fixture(scope="module")
def verdict() -> dict[str, Any]:
    """Everything in one run of the matcher: it takes a second to start."""
    judged = {f"judge: {name}": {"detail": {"x": case[0]}} for name, case in JUDGE.items()}
    asked = {
        "patterns": RULES | judged | {f"invalid: {name}": bad for name, bad in INVALID.items()},
        "events": EVENTS
        | {f"case: {name}": event for name, (event, _) in CASES.items()}
        | {f"judge: {name}": ecs(ACTION) | {"detail": case[1]} for name, case in JUDGE.items()},
    }
    assert SANDBOX_PYTHON.exists(), "the matcher lives in .venv-sandbox: run `make install`"
    answer = subprocess.run(
        [SANDBOX_PYTHON, Path(__file__).with_name("match_patterns.py")],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    parsed: dict[str, Any] = json.loads(answer.stdout)
    return parsed


def rules_that_match(verdict: dict[str, Any], event: str) -> set[str]:
    return set(verdict["matches"][event]) & set(RULES)


def test_there_are_six_rules_and_aws_accepts_their_patterns(verdict: dict[str, Any]) -> None:
    assert set(RULES) == FAILURES | PROGRESS | OTHER | TASKS | DEPLOYERS | MEMBERS
    assert not set(verdict["errors"]) & set(RULES)


def test_every_recorded_event_has_its_place_in_the_table() -> None:
    assert set(EXPECTED) == set(EVENTS)


@pytest.mark.parametrize("event", sorted(EXPECTED))
def test_a_recorded_event_is_taken_by_the_rules_that_name_it(
    verdict: dict[str, Any], event: str
) -> None:
    assert rules_that_match(verdict, event) == EXPECTED[event]


@pytest.mark.parametrize("case", sorted(CASES))
def test_an_event_nobody_recorded_is_taken_as_the_rules_intend(
    verdict: dict[str, Any], case: str
) -> None:
    assert rules_that_match(verdict, f"case: {case}") == CASES[case][1]


@pytest.mark.parametrize("case", sorted(case for case in CASES if CASES[case][1] == DEPLOYERS))
def test_a_call_that_the_rule_takes_is_read_as_one_that_began_a_deployment(case: str) -> None:
    call = events.parse(CASES[case][0])

    assert isinstance(call, ApiCall)
    assert call.begins_deployment


def test_the_simulators_bus_passes_on_what_a_whole_matcher_would() -> None:
    for name, event in EVENTS.items():
        assert set(bus.rules_that_take(event)) == EXPECTED[name], name
    for name, (event, rules) in CASES.items():
        assert set(bus.rules_that_take(event)) == rules, name


@pytest.mark.parametrize("case", JUDGE)
def test_the_simulators_bus_agrees_with_aws_too(case: str) -> None:
    pattern, detail, is_taken = JUDGE[case]
    assert bus.matches({"x": pattern}, detail) is is_taken


@pytest.mark.parametrize("case", JUDGE)
def test_the_matcher_agrees_with_aws(verdict: dict[str, Any], case: str) -> None:
    matched = f"judge: {case}" in verdict["matches"][f"judge: {case}"]
    assert matched is JUDGE[case][2]


@pytest.mark.parametrize("case", INVALID)
def test_a_pattern_that_aws_refuses_is_found(verdict: dict[str, Any], case: str) -> None:
    assert f"invalid: {case}" in verdict["errors"]


@pytest.mark.parametrize("rule", RULES)
def test_a_pattern_stays_below_eventbridges_2048_characters(rule: str) -> None:
    assert len(json.dumps(RULES[rule])) < 2048


def test_the_rules_and_the_program_know_the_same_names() -> None:
    def names(rule: str) -> Any:
        return RULES[rule]["detail"]["eventName"]

    other = {one["detail-type"][0]: one.get("detail", {}) for one in RULES["OtherFailures"]["$or"]}
    codedeploy = other["CodeDeploy Deployment State-change Notification"]

    assert set(names("DeploymentFailures")[0]["anything-but"]) == events.HEALTHY_NAMES
    assert set(names("DeploymentProgress")) < events.HEALTHY_NAMES
    assert set(other[HOOK]["eventName"]) == events.HOOK_FAILURE_NAMES
    assert (
        set(other[DAEMON]["eventName"][0]["anything-but"]) == events.DAEMON_DEPLOYMENT_HEALTHY_NAMES
    )
    assert set(codedeploy["state"]) == events.CODE_DEPLOY_FAILURE_STATES

    created, updated = RULES["Deployers"]["detail"]["$or"]
    asked = {key for one in updated["requestParameters"]["$or"] for key in one}
    assert created == {"eventName": ["CreateService"]}
    assert asked == events.DEPLOYING_PARAMETERS | {"forceNewDeployment"}
    assert set(DEPLOYING) == events.DEPLOYING_PARAMETERS
