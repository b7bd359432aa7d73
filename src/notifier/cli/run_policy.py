"""What `ecs-watch run` may be allowed to do, and no more: an IAM policy to give to a pipeline.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

import argparse
import os
from collections.abc import Mapping
from typing import Any

from notifier.arns import cluster_name, parse_arn, partition_of, revision_label
from notifier.cli.task_request import from_file

_TAGS = {"tags", "propagateTags", "enableECSManagedTags"}  # with any of them a task gets tags
Statement = Mapping[str, Any]
# Where a role or an account is not known, a word to replace: a wildcard here would let whoever has
# the policy start a task as any role.
ACCOUNT, TASK_ROLE, EXECUTION_ROLE = "ACCOUNT", "TASK-ROLE", "EXECUTION-ROLE"


def policy(options: argparse.Namespace) -> Mapping[str, Any]:
    """The policy for this command line. Words in capitals in its ARNs are to be replaced."""
    place = _Place(options)
    optional = [_of_service(place, options.like)] if options.like else []
    optional += [_of_tags(place)] if _TAGS & from_file(options.file).keys() else []
    logs = [] if options.no_log else [_of_logs(place)]
    return {
        "Version": "2012-10-17",
        "Statement": [*_of_tasks(place), _of_roles(place), *optional, *logs],
    }


class _Place:
    """The names that ARNs are made of."""

    def __init__(self, options: argparse.Namespace) -> None:
        known = parse_arn(options.cluster) or parse_arn(options.task_definition)
        self.region = known.region if known else os.environ.get("AWS_DEFAULT_REGION", "REGION")
        self.partition = known.partition if known else partition_of(self.region)
        self.account = known.account if known else ACCOUNT
        self.cluster = cluster_name(options.cluster)
        self.family = revision_label(options.task_definition).partition(":")[0]

    def arn(self, resource: str, service: str = "ecs") -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    @property
    def in_cluster(self) -> Statement:
        return {"ArnEquals": {"ecs:cluster": self.arn(f"cluster/{self.cluster}")}}


def _of_tasks(place: _Place) -> list[Statement]:
    return [
        {
            "Sid": "Start",
            "Effect": "Allow",
            "Action": "ecs:RunTask",
            "Resource": place.arn(f"task-definition/{place.family}:*"),
            "Condition": place.in_cluster,
        },
        {
            "Sid": "LookAndStop",
            "Effect": "Allow",
            "Action": ["ecs:DescribeTasks", "ecs:StopTask"],
            "Resource": place.arn(f"task/{place.cluster}/*"),
        },
        {
            "Sid": "FindAfterALostAnswer",
            "Effect": "Allow",
            "Action": "ecs:ListTasks",
            "Resource": "*",
            "Condition": place.in_cluster,
        },
        {
            "Sid": "ReadTaskDefinition",  # ECS knows no narrower resource for it
            "Effect": "Allow",
            "Action": "ecs:DescribeTaskDefinition",
            "Resource": "*",
        },
    ]


def _of_roles(place: _Place) -> Statement:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html"""
    prefix = f"arn:{place.partition}:iam::{place.account}:role"
    return {
        "Sid": "PassTheTasksRoles",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": [f"{prefix}/{name}" for name in (TASK_ROLE, EXECUTION_ROLE)],
        "Condition": {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
    }


def _of_service(place: _Place, service: str) -> Statement:
    name = service.rpartition("/")[2]
    return {
        "Sid": "ReadService",
        "Effect": "Allow",
        "Action": "ecs:DescribeServices",
        "Resource": place.arn(f"service/{place.cluster}/{name}"),
    }


def _of_tags(place: _Place) -> Statement:
    """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html"""
    return {
        "Sid": "TagWhatIsStarted",
        "Effect": "Allow",
        "Action": "ecs:TagResource",
        "Resource": place.arn(f"task/{place.cluster}/*"),
        "Condition": {"StringEquals": {"ecs:CreateAction": "RunTask"}},
    }


def _of_logs(place: _Place) -> Statement:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/permissions-reference-cwl.html"""
    return {
        "Sid": "FollowLog",
        "Effect": "Allow",
        "Action": "logs:GetLogEvents",
        "Resource": place.arn("log-group:LOG-GROUP:log-stream:*", "logs"),
    }
