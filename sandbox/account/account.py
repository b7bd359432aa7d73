"""An AWS account on this machine, into which the real template is deployed."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import boto3
from botocore.config import Config

from sandbox.account import artefact, stack
from sandbox.account.clock import Clock
from sandbox.account.process import CREDENTIALS, REGION, ROOT, Process, SandboxError
from sandbox.account.shell import own_environment

TEMPLATE = ROOT / "template.yaml"
STACK = "ecs-watch"


class Account:
    """Runs while the `with` block lasts; nothing of it is left afterwards.

    So long this process knows neither the shell's AWS settings nor a proxy for this machine.
    `environment` is added to every function's own, which is how ECS's endpoint is given. Schedules
    fire only when `schedules` is set: otherwise `invoke_tick` makes the ticks.
    """

    def __init__(
        self, environment: Mapping[str, str] | None = None, *, schedules: bool = False
    ) -> None:
        self._environment = {
            "SANDBOX_SCHEDULES": "on" if schedules else "off",
            **(environment or {}),
        }
        self.outputs: dict[str, str] = {}
        self._clients: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with ExitStack() as started:
            started.enter_context(own_environment())
            self._process = Process(self._environment)
            started.callback(self._process.stop)
            self._process.wait_until_ready()
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()
        self._started.close()

    @property
    def url(self) -> str:
        """Where the account listens: the value of AWS_ENDPOINT_URL."""
        return self._process.url

    @property
    def clock(self) -> Clock:
        """The functions' clock; AWS keeps the real time."""
        return self._process.clock

    def client(self, service: str) -> Any:
        """Return a boto3 client of this account, with the rights of its root."""
        if service not in self._clients:
            self._clients[service] = self.client_of(service, **CREDENTIALS)
        return self._clients[service]

    def client_of(self, service: str, **credentials: str) -> Any:
        """Return a boto3 client with other credentials, named as in the environment."""
        return boto3.client(
            service,  # type: ignore[call-overload]  # any service's name will do
            endpoint_url=self.url,
            region_name=REGION,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            **{name.lower(): value for name, value in credentials.items()},
        )

    # --- what is deployed ---------------------------------------------------------------------

    def keep_secret(self, name: str, value: str) -> None:
        """Put a SecureString into Parameter Store."""
        self.client("ssm").put_parameter(
            Name=name, Value=value, Type="SecureString", Overwrite=True
        )

    def build(self) -> bytes:
        """Return the zip that Lambda would run."""
        return artefact.build()

    def deploy(
        self,
        parameters: Mapping[str, str],
        *,
        template: Path = TEMPLATE,
        code: bytes | None = None,
        stack_name: str = STACK,
    ) -> None:
        """Build and deploy; `outputs` are the stack's. Raise SandboxError with what failed."""
        code = self.build() if code is None else code
        url = stack.upload(self.client("s3"), self.url, template, code, stack_name)
        self.outputs = stack.deploy(self.client("cloudformation"), stack_name, url, parameters)

    @contextmanager
    def also_deployed(
        self, template: Path, stack_name: str, parameters: Mapping[str, str]
    ) -> Iterator[dict[str, str]]:
        """Have another stack beside, while the `with` block lasts; yield its resources' names.

        Raises SandboxError with what failed.
        """
        client = self.client("cloudformation")
        url = stack.upload(self.client("s3"), self.url, template, self.build(), stack_name)
        try:
            stack.deploy(client, stack_name, url, parameters)
            yield stack.resources(client, stack_name)
        finally:
            stack.delete(client, stack_name)

    # --- what happens in it -------------------------------------------------------------------

    def put_event(self, event: Mapping[str, Any]) -> str:
        """Put an event, in the form in which rules deliver it, on the default bus.

        The account gives it an id of its own, which is returned, as EventBridge does.
        """
        return self.put_events([event])[0]

    def put_events(self, events: Sequence[Mapping[str, Any]]) -> list[str]:
        """Put at most ten events on the bus at once; see `put_event`."""
        answer = self.client("events").put_events(Entries=[_entry(event) for event in events])
        if answer["FailedEntryCount"]:
            raise SandboxError(f"the bus refused an event: {answer['Entries']}")
        return [str(entry["EventId"]) for entry in answer["Entries"]]

    def invoke_tick(self, at: datetime) -> None:
        """Invoke the function that a schedule invokes every minute; raise when it fails."""
        self.invoke_by_schedule(self.outputs["TickFunctionName"], at)

    def invoke_by_schedule(self, function: str, at: datetime) -> None:
        """Invoke a function as a rule's schedule does; raise SandboxError when it fails."""
        event = {
            "version": "0",
            "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
            "detail-type": "Scheduled Event",
            "source": "aws.events",
            "time": at.isoformat(timespec="seconds"),
            "region": REGION,
            "resources": [],
            "detail": {},
        }
        answer = self.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        if "FunctionError" in answer:
            raise SandboxError(
                f"{function} failed: {answer['Payload'].read().decode()}\n{self.logs()[-4000:]}"
            )

    def empty(self) -> None:
        """Forget what is in the queues and in the table."""
        for name in ("EventsQueueUrl", "EventsDeadLetterQueueUrl", "RulesDeadLetterQueueUrl"):
            self.client("sqs").purge_queue(QueueUrl=self.outputs[name])
        table, client = self.outputs["TableName"], self.client("dynamodb")
        keys = client.scan(TableName=table, ProjectionExpression="pk, sk")["Items"]
        for key in keys:
            client.delete_item(TableName=table, Key=key)

    def waiting(self, queue: str = "EventsQueueUrl") -> int:
        """Return how many messages are in a queue, those being worked on included."""
        return self.waiting_at(self.outputs[queue])

    def waiting_at(self, url: str) -> int:
        """The same of any queue."""
        names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        shown = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(count) for count in shown["Attributes"].values())

    def settle(self, seconds: float = 20) -> None:
        """Wait until the queue is empty; raise SandboxError with the functions' log if it stays."""
        self.settle_at(self.outputs["EventsQueueUrl"], seconds)

    def settle_at(self, url: str, seconds: float = 20) -> None:
        """The same of any queue."""
        deadline = time.monotonic() + seconds
        while left := self.waiting_at(url):
            if time.monotonic() > deadline:
                raise SandboxError(f"{left} messages still in the queue\n{self.logs()[-4000:]}")
            time.sleep(0.02)

    def logs(self) -> str:
        """Return what the functions logged, in the order of time."""
        client = self.client("logs")
        lines: list[tuple[int, str]] = []
        for group in client.describe_log_groups(logGroupNamePrefix="/aws/lambda/")["logGroups"]:
            found = client.filter_log_events(logGroupName=group["logGroupName"])
            lines += [(event["timestamp"], event["message"]) for event in found["events"]]
        return "\n".join(message for _time, message in sorted(lines, key=lambda line: line[0]))


def _entry(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as PutEvents takes it."""
    return {
        "Source": event["source"],
        "DetailType": event["detail-type"],
        "Detail": json.dumps(event["detail"]),
        "Resources": event.get("resources", []),
        "Time": datetime.fromisoformat(event["time"]),
    }
