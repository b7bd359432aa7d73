"""A double of Amazon ECS: answers from a world that a story or a test writes.

So it does for what CloudTrail and CloudWatch Logs tell of it.
Only what reads is there, and what runs a one-off task of a family that was given a job; any other
operation is refused, for the watcher never changes anything.
It speaks AWS's JSON 1.1 and has the limits of the real thing:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Operations.html
https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_Operations.html
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from sandbox.aws_error import AwsError
from sandbox.one_off import Job, OneOffs

Json = dict[str, Any]

KEYS = {
    "clusters": "clusterArn",
    "services": "serviceArn",
    "tasks": "taskArn",
    "taskDefinitions": "taskDefinitionArn",
    "serviceDeployments": "serviceDeploymentArn",
    "serviceRevisions": "serviceRevisionArn",
    "cloudTrailEvents": "EventId",
    "trails": "TrailARN",
    "logStreams": "arn",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a call: an error, an answer that takes long, or none at all.

    `code` is AWS's error code with its HTTP status; without it the call is answered after `delay`
    seconds, and never when `hang` is set.
    """

    code: str = ""
    status: int = 400
    delay: float = 0
    hang: bool = False


ACCESS_DENIED = Fault(code="AccessDeniedException")
THROTTLED = Fault(code="ThrottlingException")
SERVER_ERROR = Fault(code="ServerException", status=500)


class World:
    """What ECS, CloudTrail and CloudWatch Logs would show now.

    Objects are shaped and spelled as AWS's own. A log stream has its names and its `events`, a
    trail also what GetTrailStatus and GetEventSelectors show of it.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._collections: dict[str, dict[str, Json]] = {name: {} for name in KEYS}
        self.one_offs = OneOffs(clock)

    def patch(self, changes: Mapping[str, list[Json]]) -> None:
        """Add objects, or replace the fields given of those with the same ARN."""
        for name, objects in changes.items():
            if name not in KEYS:
                raise ValueError(f"{name} is none of {', '.join(KEYS)}")
            for changed in objects:
                self._collections[name].setdefault(changed[KEYS[name]], {}).update(changed)

    def all(self, collection: str) -> list[Json]:
        """Return the objects of a collection in the order in which they were added."""
        return list(self._collections[collection].values())

    def get(self, collection: str, key: str) -> Json | None:
        """Return the object with this ARN or EventId."""
        return self._collections[collection].get(key)

    def clear(self) -> None:
        """Forget everything."""
        for objects in self._collections.values():
            objects.clear()
        self.one_offs.clear()

    def go_on(self) -> None:
        """Show one-off tasks and their logs as they are by now."""
        now = self.one_offs.now()
        for task, is_shown in self.one_offs.visible():
            if is_shown:
                self.patch({"tasks": [task.shown(now)], "logStreams": list(task.logged(now))})
            else:
                self._collections["tasks"].pop(task.arn, None)


@dataclass
class Answers:
    """The operations: each takes a request's parameters and returns the answer's."""

    world: World

    # --- clusters -----------------------------------------------------------------------------

    def list_clusters(self, request: Json) -> Json:
        """Answer ListClusters: at most 100 a page."""
        arns = [cluster["clusterArn"] for cluster in self.world.all("clusters")]
        return page(arns, "clusterArns", request, most=100)

    def describe_clusters(self, request: Json) -> Json:
        """Answer DescribeClusters: at most 100 a call."""
        names = limited(request.get("clusters") or ["default"], "clusters", most=100)
        return found("clusters", names, self._cluster)

    def _cluster(self, name: str) -> Json | None:
        for cluster in self.world.all("clusters"):
            if name in (cluster["clusterArn"], last(cluster["clusterArn"])):
                return cluster
        return None

    def _cluster_of(self, request: Json) -> str:
        """Return the ARN of the request's cluster, which must be active."""
        cluster = self._cluster(request.get("cluster") or "default")
        if cluster is None or cluster.get("status", "ACTIVE") == "INACTIVE":
            raise AwsError("ClusterNotFoundException", "Cluster not found.")
        return str(cluster["clusterArn"])

    # --- services -----------------------------------------------------------------------------

    def list_services(self, request: Json) -> Json:
        """Answer ListServices: at most 100 a page, 10 by default."""
        cluster = self._cluster_of(request)
        arns = [
            service["serviceArn"]
            for service in self.world.all("services")
            if service["clusterArn"] == cluster and service.get("status") != "INACTIVE"
        ]
        return page(arns, "serviceArns", request, most=100, usual=10)

    def describe_services(self, request: Json) -> Json:
        """Answer DescribeServices: at most 10 a call, with tags only if they are asked for."""
        cluster = self._cluster_of(request)
        names = limited(request.get("services") or [], "services", most=10)
        return found("services", names, lambda name: shown(self._service(cluster, name), request))

    def _service(self, cluster: str, name: str) -> Json | None:
        for service in self.world.all("services"):
            names = (service["serviceArn"], service["serviceName"])
            if service["clusterArn"] == cluster and name in names:
                return service
        return None

    # --- tasks --------------------------------------------------------------------------------

    def list_tasks(self, request: Json) -> Json:
        """Answer ListTasks. `startedBy` must be the only filter; running tasks by default."""
        cluster = self._cluster_of(request)
        filters = {"startedBy", "serviceName", "family", "containerInstance"} & request.keys()
        if "startedBy" in filters and len(filters | {"desiredStatus"} & request.keys()) > 1:
            raise AwsError("InvalidParameterException", "cannot combine startedBy with a filter")
        if "serviceName" in filters and not self._service(cluster, request["serviceName"]):
            raise AwsError("ServiceNotFoundException", "Service not found.")
        arns = [
            task["taskArn"]
            for task in self.world.all("tasks")
            if task["clusterArn"] == cluster and is_asked_for(task, request)
        ]
        return page(arns, "taskArns", request, most=100)

    def describe_tasks(self, request: Json) -> Json:
        """Answer DescribeTasks: at most 100 a call, with tags only if they are asked for."""
        cluster = self._cluster_of(request)
        arns = limited(request.get("tasks") or [], "tasks", most=100)
        return found("tasks", arns, lambda name: shown(self._task(cluster, name), request))

    def _task(self, cluster: str, name: str) -> Json | None:
        for task in self.world.all("tasks"):
            if task["clusterArn"] == cluster and name in (task["taskArn"], last(task["taskArn"])):
                return task
        return None

    def run_task(self, request: Json) -> Json:
        """Answer RunTask, for a family that was given a job."""
        asked = {**request, "clusterArn": self._cluster_of(request)}
        try:
            definition = self.describe_task_definition(request)["taskDefinition"]
        except AwsError as error:
            raise AwsError("ClientException", "TaskDefinition not found.") from error
        return self.world.one_offs.run(asked, definition)

    def stop_task(self, request: Json) -> Json:
        """Answer StopTask, for a task that RunTask started."""
        task = self._task(self._cluster_of(request), request.get("task", ""))
        if task is None or task["taskArn"] not in self.world.one_offs.started:
            raise AwsError("InvalidParameterException", "The referenced task was not found.")
        return self.world.one_offs.stop(task["taskArn"], request.get("reason", ""))

    def describe_task_definition(self, request: Json) -> Json:
        """Answer DescribeTaskDefinition: by ARN, family:revision, or family for the newest.

        Tags stand beside the task definition, not in it, and only if they are asked for.
        """
        wanted = last(request.get("taskDefinition", ""))
        for definition in reversed(self.world.all("taskDefinitions")):
            name = last(definition["taskDefinitionArn"])
            if wanted in (name, name.rsplit(":", 1)[0]):
                without = {key: value for key, value in definition.items() if key != "tags"}
                wanted_tags = definition.get("tags", []) if wants_tags(request) else []
                return {"taskDefinition": without, "tags": wanted_tags}
        raise AwsError("ClientException", "Unable to describe task definition.")

    # --- service deployments ------------------------------------------------------------------

    def list_service_deployments(self, request: Json) -> Json:
        """Answer ListServiceDeployments: newest first, at most 100 a page, 20 by default."""
        service = self._service(self._cluster_of(request), request.get("service", ""))
        if service is None:
            raise AwsError("ServiceNotFoundException", "Service not found.")
        if service.get("deploymentController", {}).get("type", "ECS") != "ECS":
            raise AwsError("UnsupportedFeatureException", "not of this deployment controller")
        wanted = request.get("status") or []
        briefs = [
            brief(deployment)
            for deployment in self.world.all("serviceDeployments")
            if deployment["serviceArn"] == service["serviceArn"]
            and (not wanted or deployment["status"] in wanted)
            and is_within(deployment.get("createdAt", 0), request.get("createdAt") or {})
        ]
        briefs.sort(key=lambda deployment: str(deployment.get("createdAt", "")), reverse=True)
        return page(briefs, "serviceDeployments", request, most=100, usual=20)

    def describe_service_deployments(self, request: Json) -> Json:
        """Answer DescribeServiceDeployments: at most 20 a call."""
        arns = limited(request.get("serviceDeploymentArns") or [], "service deployments", most=20)
        return found(
            "serviceDeployments", arns, lambda arn: self.world.get("serviceDeployments", arn)
        )

    def describe_service_revisions(self, request: Json) -> Json:
        """Answer DescribeServiceRevisions: at most 20 a call."""
        arns = limited(request.get("serviceRevisionArns") or [], "service revisions", most=20)
        return found("serviceRevisions", arns, lambda arn: self.world.get("serviceRevisions", arn))

    # --- CloudTrail ---------------------------------------------------------------------------

    def lookup_events(self, request: Json) -> Json:
        """Answer LookupEvents: one attribute at most, newest first, at most 50 a page."""
        if len(request.get("LookupAttributes") or []) > 1:
            raise AwsError("InvalidLookupAttributesException", "one lookup attribute at most")
        events = [
            event for event in self.world.all("cloudTrailEvents") if is_looked_up(event, request)
        ]
        events.sort(key=lambda event: seconds(event["EventTime"]), reverse=True)
        return page(events, "Events", request, most=50, names=("MaxResults", "NextToken"))

    def describe_trails(self, _request: Json) -> Json:
        """Answer DescribeTrails: all of them."""
        beside = ("IsLogging", "EventSelectors", "AdvancedEventSelectors")
        return {
            "trailList": [
                {name: value for name, value in trail.items() if name not in beside}
                for trail in self.world.all("trails")
            ]
        }

    def get_trail_status(self, request: Json) -> Json:
        """Answer GetTrailStatus: whether the trail is switched on."""
        return {"IsLogging": bool(self._trail(request["Name"]).get("IsLogging"))}

    def get_event_selectors(self, request: Json) -> Json:
        """Answer GetEventSelectors: what the trail records."""
        trail = self._trail(request["TrailName"])
        names = ("TrailARN", "EventSelectors", "AdvancedEventSelectors")
        return {name: trail[name] for name in names if name in trail}

    def _trail(self, arn: str) -> Json:
        if trail := self.world.get("trails", arn):
            return trail
        raise AwsError("TrailNotFoundException", f"Unknown trail: {arn}")

    # --- CloudWatch Logs ----------------------------------------------------------------------

    def get_log_events(self, request: Json) -> Json:
        """Answer GetLogEvents: the newest of a stream, or with `startFromHead` the oldest.

        The events are in the order of time either way.
        """
        names = ("logGroupName", "logStreamName")
        for stream in self.world.all("logStreams"):
            if all(stream[name] == request.get(name) for name in names):
                return some_events(stream["events"], request)
        raise AwsError("ResourceNotFoundException", "The specified log stream does not exist.")


def limited(names: list[str], what: str, *, most: int) -> list[str]:
    """Return the names, or refuse as AWS does when there are none or too many."""
    if not names:
        raise AwsError("InvalidParameterException", f"{what} cannot be empty.")
    if len(names) > most:
        raise AwsError("InvalidParameterException", f"{what} cannot have more than {most} items.")
    return names


def found(collection: str, names: list[str], find: Callable[[str], Json | None]) -> Json:
    """Return what was found, and a failure MISSING for everything else."""
    objects = [(name, find(name)) for name in names]
    return {
        collection: [thing for _name, thing in objects if thing is not None],
        "failures": [
            {"arn": name, "reason": "MISSING"} for name, thing in objects if thing is None
        ],
    }


def page(
    items: list[Any],
    key: str,
    request: Json,
    *,
    most: int,
    usual: int | None = None,
    names: tuple[str, str] = ("maxResults", "nextToken"),
) -> Json:
    """Return one page of the items; the token is the place where the next one starts."""
    size_name, token_name = names
    size = request.get(size_name, usual or most)
    if not 1 <= size <= most:
        raise AwsError("InvalidParameterException", f"{size_name} must be from 1 to {most}.")
    start = int(request.get(token_name) or 0)
    answer: Json = {key: items[start : start + size]}
    if start + size < len(items):
        answer[token_name] = str(start + size)
    return answer


def wants_tags(request: Json) -> bool:
    """Say whether the request includes tags, which no answer has otherwise."""
    return "TAGS" in (request.get("include") or [])


def shown(thing: Json | None, request: Json) -> Json | None:
    """Return what an answer shows of a service or a task."""
    if thing is None or wants_tags(request):
        return thing
    return {key: value for key, value in thing.items() if key != "tags"}


def is_within(moment: str | float, window: Json) -> bool:
    """Say whether a time is after and before those of the window."""
    return seconds(window.get("after", 0)) <= seconds(moment) <= seconds(window.get("before", 1e11))


def some_events(events: list[Json], request: Json) -> Json:
    """Return as many of a stream's events as were asked for: at most 10,000.

    The token is the place where the next ones start; at the end it is the one that came.
    """
    limit = request.get("limit", 10_000)
    if not 1 <= limit <= 10_000:
        raise AwsError("InvalidParameterException", "limit must be from 1 to 10000.")
    if not request.get("startFromHead"):
        return {"events": events[-limit:], "nextForwardToken": f"f/{len(events)}"}
    start = int(request.get("nextToken", "f/0").removeprefix("f/"))
    found = events[start : start + limit]
    return {"events": found, "nextForwardToken": f"f/{start + len(found)}"}


def is_asked_for(task: Json, request: Json) -> bool:
    """Say whether ListTasks lists the task; a stopped one only when stopped ones are wanted."""
    family = last(task["taskDefinitionArn"]).rsplit(":", 1)[0]
    return (
        task.get("desiredStatus") == request.get("desiredStatus", "RUNNING")
        and request.get("startedBy") in (None, task.get("startedBy"))
        and request.get("family") in (None, family)
        and last(request.get("serviceName", "")) in ("", task.get("group", "")[len("service:") :])
    )


def brief(deployment: Json) -> Json:
    """Return what a list shows of a service deployment."""
    shown = ("serviceDeploymentArn", "serviceArn", "clusterArn", "startedAt", "createdAt")
    also = ("finishedAt", "status", "statusReason")
    line = {name: deployment[name] for name in (*shown, *also) if name in deployment}
    if target := deployment.get("targetServiceRevision"):
        line["targetServiceRevisionArn"] = target["arn"]
    return line


def is_looked_up(event: Json, request: Json) -> bool:
    """Say whether LookupEvents returns the event."""
    moment = seconds(event["EventTime"])
    if not seconds(request.get("StartTime", 0)) <= moment <= seconds(request.get("EndTime", 1e11)):
        return False
    for attribute in request.get("LookupAttributes") or []:
        if attribute["AttributeValue"] not in values_of(event, attribute["AttributeKey"]):
            return False
    return True


def values_of(event: Json, key: str) -> Iterator[Any]:
    """Yield what a lookup attribute is compared with."""
    if key in ("ResourceName", "ResourceType"):
        yield from (resource.get(key) for resource in event.get("Resources", []))
    else:
        yield event.get(key)


def last(arn: str) -> str:
    """Return the part of an ARN behind the last slash."""
    return arn.rsplit("/", 1)[-1]


def seconds(moment: str | float) -> float:
    """Return a moment as seconds since 1970, as JSON 1.1 writes it."""
    return datetime.fromisoformat(moment).timestamp() if isinstance(moment, str) else moment


def on_the_wire(value: Any, name: str = "") -> Any:
    """Return the value as JSON 1.1 has it: what ends in `At`, and EventTime, become seconds.

    The time of a log's line becomes milliseconds.
    """
    if isinstance(value, dict):
        return {key: on_the_wire(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [on_the_wire(item) for item in value]
    if isinstance(value, str) and (name.endswith("At") or name == "EventTime"):
        return seconds(value)
    if isinstance(value, str) and name == "timestamp":
        return round(seconds(value) * 1000)
    return value


# --- the server -------------------------------------------------------------------------------


@dataclass
class EcsDouble:
    """The server, on a free port of 127.0.0.1 while the `with` block lasts.

    `calls` counts by operation, refused and faulty ones too; `requests` keeps what they asked.
    """

    world: World = field(default_factory=World)
    calls: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[str, Json]] = field(default_factory=list)
    _faults: dict[str, tuple[Fault, int]] = field(default_factory=dict)
    _broken: list[Exception] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        if self._broken:
            raise RuntimeError("the double itself is wrong") from self._broken[0]

    @property
    def url(self) -> str:
        """Where it listens: AWS_ENDPOINT_URL_ECS, and _CLOUDTRAIL and _CLOUDWATCH_LOGS too."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def patch(self, changes: Mapping[str, list[Json]]) -> None:
        """Change the world; no call sees half of it."""
        with self._lock:
            self.world.patch(changes)

    def give(self, family: str, job: Job) -> None:
        """Let tasks of this family be run, and go as the job says."""
        with self._lock:
            self.world.one_offs.jobs[family] = job

    def answer_run_task(self, answers: Mapping[str, list[Json]]) -> None:
        """Let RunTask of each family be answered so, in this order, each answer once."""
        with self._lock:
            self.world.one_offs.answers.update({name: list(rows) for name, rows in answers.items()})

    def clear(self) -> None:
        """Show nothing any more, and take back every fault."""
        with self._lock:
            self.world.clear()
        self.heal()

    def fail(self, operation: str, fault: Fault, times: int = 1_000_000) -> None:
        """Let the next calls of an operation, named as AWS names it, go wrong."""
        with self._lock:
            self._faults[operation] = (fault, times)

    def heal(self) -> None:
        """Take back every fault."""
        with self._lock:
            self._faults.clear()

    def answer(self, operation: str, request: Json) -> Json:
        """Count the call, let it go wrong if it is to, and answer it."""
        with self._lock:
            self.calls[operation] += 1
            self.requests.append((operation, request))
            fault = self._next_fault(operation)
        if fault is not None:
            self._suffer(fault)
        with self._lock:
            return self._answered(operation, request)

    def _answered(self, operation: str, request: Json) -> Json:
        try:
            self.world.go_on()
            answer: Json = on_the_wire(self._operation(operation)(request))
        except AwsError:
            raise
        except Exception as error:
            self._broken.append(error)  # raised at the end: it must not look like AWS failing
            raise AwsError("ServerException", repr(error), 500) from error
        return answer

    def _next_fault(self, operation: str) -> Fault | None:
        fault, times = self._faults.get(operation, (None, 0))
        if fault is None or times <= 0:
            return None
        self._faults[operation] = (fault, times - 1)
        return fault

    def _suffer(self, fault: Fault) -> None:
        if fault.hang:
            self._stopping.wait()
        time.sleep(fault.delay)
        if fault.code:
            raise AwsError(fault.code, "as the test asked", fault.status)

    def _operation(self, name: str) -> Callable[[Json], Json]:
        if name not in OPERATIONS:
            raise AwsError("AccessDeniedException", f"the double does not allow {name}")
        return partial(OPERATIONS[name], Answers(self.world))


OPERATIONS = {
    "ListClusters": Answers.list_clusters,
    "DescribeClusters": Answers.describe_clusters,
    "ListServices": Answers.list_services,
    "DescribeServices": Answers.describe_services,
    "RunTask": Answers.run_task,
    "StopTask": Answers.stop_task,
    "ListTasks": Answers.list_tasks,
    "DescribeTasks": Answers.describe_tasks,
    "DescribeTaskDefinition": Answers.describe_task_definition,
    "ListServiceDeployments": Answers.list_service_deployments,
    "DescribeServiceDeployments": Answers.describe_service_deployments,
    "DescribeServiceRevisions": Answers.describe_service_revisions,
    "LookupEvents": Answers.lookup_events,
    "DescribeTrails": Answers.describe_trails,
    "GetTrailStatus": Answers.get_trail_status,
    "GetEventSelectors": Answers.get_event_selectors,
    "GetLogEvents": Answers.get_log_events,
}


def handler_of(double: EcsDouble) -> type[BaseHTTPRequestHandler]:
    """Return the class that answers HTTP requests for this double."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece: a second one would wait for the first's receipt

        def do_POST(self) -> None:
            operation = self.headers.get("X-Amz-Target", "").rsplit(".", 1)[-1]
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                self._send(200, double.answer(operation, json.loads(body or b"{}")))
            except AwsError as error:
                body_of = {"__type": error.code, "message": error.message, **error.more}
                self._send(error.status, body_of)

        def _send(self, status: int, answer: Json) -> None:
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-amzn-RequestId", str(sum(double.calls.values())))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet; `calls` tells what was asked."""

    return Handler
