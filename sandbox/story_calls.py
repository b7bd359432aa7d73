"""Calls of ECS as CloudTrail records them: who released what, and by which pipeline.

The record is that of events/ct-update-service-github-actor-built.json. EventBridge hands it over
where a trail is active, usually within some minutes; LookupEvents shows it for ninety days.
https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event-cloudtrail.html
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from sandbox.story_shapes import ACCOUNT, REGION, Deployment, Json, Service, arn, at, uuid

ROLE = "deployer"
ROLE_ID = "AROAIDPPEZS35WEXAMPLE"
UPDATE, REGISTER = "UpdateService", "RegisterTaskDefinition"
CHANGED_BY = ("createdAt", "updatedAt")


@dataclass(frozen=True, slots=True)
class Shipper:
    """Somebody, and the pipeline that ships for them.

    `session` is how the pipeline names its role's session, with the repository in place of `{}`.
    """

    name: str
    session: str
    provider: str
    agent: str

    def session_of(self, service: Service) -> str:
        """Return the name of the session in which this service is released."""
        return self.session.format(service.name)


MIKA = Shipper(
    "mika",
    "gh-7214583021-mika@octo-org={}",
    "token.actions.githubusercontent.com",
    "aws-sdk-nodejs/2.1692.0",
)
ROBIN = Shipper(
    "robin",
    "gl-1188543021-robin@octo-org={}",
    "gitlab.com",
    "aws-cli/2.28.1 md/awscrt#0.27.6 ua/2.1 os/linux#6.1.0 lang/python#3.13.4",
)


def release(service: Service, new: Deployment, older: Iterable[Deployment], by: Shipper) -> Json:
    """Return the record of the UpdateService that began a deployment; its answer names it."""
    named = service.definition_arn(new.release)
    asked = {
        "cluster": service.cluster,
        "service": service.name,
        "taskDefinition": named,
        "forceNewDeployment": False,
    }
    answer = {"service": _answered(service, new, older)}
    return _record(service, new.begun, UPDATE, by, asked=asked, answer=answer)


def registration(service: Service, new: Deployment, by: Shipper) -> Json:
    """Return the record of the RegisterTaskDefinition before it, without the definition itself."""
    return _record(
        service, new.begun - 4, REGISTER, by, asked={"family": service.name}, answer=None
    )


def delivered(service: Service, record: Json) -> Json:
    """Return the record as EventBridge delivers it."""
    return service.envelope("AWS API Call via CloudTrail", record["eventTime"], [], record)


def looked_up(service: Service, record: Json) -> Json:
    """Return the record as LookupEvents shows it."""
    return {
        "EventId": record["eventID"],
        "EventName": record["eventName"],
        "ReadOnly": "false",
        "EventTime": record["eventTime"],
        "EventSource": record["eventSource"],
        "Username": record["userIdentity"]["principalId"].partition(":")[2],
        "Resources": [{"ResourceType": "AWS::ECS::Service", "ResourceName": service.arn}],
        "CloudTrailEvent": json.dumps(record),
    }


def _record(
    service: Service, moment: float, name: str, by: Shipper, *, asked: Json, answer: Json | None
) -> Json:
    return {
        "eventVersion": "1.11",
        "userIdentity": _caller(service, moment, by),
        "eventTime": at(moment),
        "eventSource": "ecs.amazonaws.com",
        "eventName": name,
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.12",
        "userAgent": by.agent,
        "requestParameters": asked,
        "responseElements": answer,
        "requestID": uuid(service.name, moment, name, "request"),
        "eventID": uuid(service.name, moment, name, "event"),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
    }


def _caller(service: Service, moment: float, by: Shipper) -> Json:
    session = by.session_of(service)
    role = {
        "type": "Role",
        "principalId": ROLE_ID,
        "arn": f"arn:aws:iam::{ACCOUNT}:role/{ROLE}",
        "accountId": ACCOUNT,
        "userName": ROLE,
    }
    provider = f"arn:aws:iam::{ACCOUNT}:oidc-provider/{by.provider}"
    return {
        "type": "AssumedRole",
        "principalId": f"{ROLE_ID}:{session}",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{ROLE}/{session}",
        "accountId": ACCOUNT,
        "sessionContext": {
            "sessionIssuer": role,
            "attributes": {"mfaAuthenticated": "false", "creationDate": at(moment - 25)},
            "webIdFederationData": {"federatedProvider": provider, "attributes": {}},
        },
    }


def _answered(service: Service, new: Deployment, older: Iterable[Deployment]) -> Json:
    """Return the service as the call's answer has it, whose times are written out."""
    shown = service.shown([new, *older], [])
    kept = (
        "serviceArn",
        "serviceName",
        "clusterArn",
        "status",
        "desiredCount",
        "runningCount",
        "pendingCount",
        "taskDefinition",
    )
    rows = [
        {key: in_words(value) if key in CHANGED_BY else value for key, value in row.items()}
        for row in shown["deployments"]
    ]
    return {**{key: shown[key] for key in kept}, "deployments": rows, "events": []}


def in_words(moment: str) -> str:
    """Return the token for the moment as answers in CloudTrail's records write times."""
    return moment.replace("}}", " in words}}")


def log_stream(service: Service, number: int, lines: Iterable[tuple[float, str]]) -> Json:
    """Return what GetLogEvents shows of the log of the service's n-th task."""
    task = service.task_arn(number).rpartition("/")[2]
    group, stream = f"/ecs/{service.name}", f"ecs/app/{task}"
    return {
        "arn": arn(f"log-group:{group}:log-stream:{stream}", "logs"),
        "logGroupName": group,
        "logStreamName": stream,
        "events": [{"timestamp": at(moment), "message": line} for moment, line in lines],
    }
